//! Pages of lists: opaque keyset tokens that grant nothing and survive inserts (AIP-158).

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use serde::{Serialize, de::DeserializeOwned};

use crate::{Error, Result};

/// How many items a page has when the request does not say.
const SIZE_DEFAULT: i32 = 50;
/// How many items a page has at the most; who asks for more gets these.
const SIZE_MAX: i32 = 200;
/// How many bytes the items of a page have at the most, by the caller's estimate;
/// a client takes a message of 4 MiB unless it was told to take more.
const BYTES_MAX: usize = 1024 * 1024;
/// No token of ours is longer.
const TOKEN_MAX: usize = 1024;

/// Which page of a list to read. `C` is the key of the last item before it.
#[derive(Clone, Debug)]
pub struct Page<C> {
    /// Where to go on: after this key.
    pub after: Option<C>,
    size: usize,
    filter: String,
}

impl<C: Serialize + DeserializeOwned> Page<C> {
    /// The page that a request asks for. `list` is the name of the RPC, and `filter` is
    /// what else is asked for: a token goes on with the list that it came from and no
    /// other.
    ///
    /// # Errors
    /// `InvalidFields` for a negative size, and for a token that is not this list's.
    pub fn parse(
        list: &'static str,
        size: i32,
        token: &str,
        filter: &impl Serialize,
    ) -> Result<Self> {
        let size = match size {
            0 => SIZE_DEFAULT,
            1.. => size.min(SIZE_MAX),
            _ => return Err(Error::invalid("page_size", "must not be negative")),
        };
        let filter = fingerprint(&(list, filter))?;
        let after = match token {
            "" => None,
            _ => Some(decode(token, &filter).ok_or_else(|| {
                Error::invalid(
                    "page_token",
                    "must be a next_page_token of this list, with the same filters",
                )
            })?),
        };
        Ok(Page { after, size: size as usize, filter })
    }

    /// How many rows to read: one more than the page has, to know whether it is the last.
    pub fn limit(&self) -> i64 {
        self.size as i64 + 1
    }

    /// Cuts rows that were read with [`limit`](Self::limit) to the page, and makes
    /// the token of the next one; `key` is what the list is sorted by.
    pub fn cut<T>(&self, rows: Vec<T>, key: impl FnOnce(&T) -> C) -> Result<(Vec<T>, String)> {
        self.cut_to_fit(rows, |_| 0, key)
    }

    /// The same, and shorter where the rows are long: `bytes` says how long one is.
    pub fn cut_to_fit<T>(
        &self,
        mut rows: Vec<T>,
        bytes: impl Fn(&T) -> usize,
        key: impl FnOnce(&T) -> C,
    ) -> Result<(Vec<T>, String)> {
        let mut left = BYTES_MAX;
        let mut fits = |row: &T| {
            left = left.saturating_sub(bytes(row));
            left > 0
        };
        // One row at the least, or the list would never end.
        let fitting = rows.iter().map_while(|row| fits(row).then_some(())).count().max(1);
        let size = self.size.min(fitting);
        if rows.len() <= size {
            return Ok((rows, String::new()));
        }
        rows.truncate(size);
        let token = match rows.last() {
            Some(last) => {
                let token = serde_json::to_vec(&(&self.filter, key(last)));
                BASE64.encode(token.map_err(Error::internal)?)
            }
            None => String::new(),
        };
        Ok((rows, token))
    }
}

fn decode<C: DeserializeOwned>(token: &str, filter: &str) -> Option<C> {
    if token.len() > TOKEN_MAX {
        return None;
    }
    let (of, after): (String, C) = serde_json::from_slice(&BASE64.decode(token).ok()?).ok()?;
    (of == filter).then_some(after)
}

fn fingerprint(filter: &impl Serialize) -> Result<String> {
    let text = serde_json::to_vec(filter).map_err(Error::internal)?;
    Ok(BASE64.encode(&digest(&SHA256, &text).as_ref()[..6]))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn pages_follow_one_another_until_the_list_ends() {
        let items: Vec<u32> = (0..120).collect();
        let (mut token, mut seen) = (String::new(), Vec::new());
        loop {
            let page = Page::<u32>::parse("List", 50, &token, &"all").unwrap();
            let rest = items.iter().filter(|it| page.after.is_none_or(|after| **it > after));
            let rows = rest.take(page.limit() as usize).copied().collect();
            let (rows, next) = page.cut(rows, |it| *it).unwrap();
            seen.extend(rows);
            token = next;
            if token.is_empty() {
                break;
            }
        }

        assert_eq!(seen, items);
    }

    #[test]
    fn a_page_of_long_items_is_shorter_and_never_empty() {
        let page = Page::<usize>::parse("List", 10, "", &"all").unwrap();

        let (short, token) = page.cut_to_fit(vec![400_000; 5], |it| *it, |it| *it).unwrap();
        assert_eq!((short.len(), token.is_empty()), (2, false));
        let (one, token) = page.cut_to_fit(vec![2 * BYTES_MAX; 2], |it| *it, |it| *it).unwrap();
        assert_eq!((one.len(), token.is_empty()), (1, false));
        let (last, token) = page.cut_to_fit(vec![2 * BYTES_MAX], |it| *it, |it| *it).unwrap();
        assert_eq!((last.len(), token.is_empty()), (1, true));
    }

    #[test]
    fn a_token_of_another_list_is_refused() {
        let page = Page::<u32>::parse("List", 1, "", &"one").unwrap();
        let (_, token) = page.cut(vec![1, 2], |it| *it).unwrap();

        assert!(Page::<u32>::parse("List", 1, &token, &"one").is_ok());
        assert!(Page::<u32>::parse("List", 1, &token, &"two").is_err());
        assert!(Page::<u32>::parse("Other", 1, &token, &"one").is_err());
    }

    proptest! {
        #[test]
        fn no_token_makes_it_panic(token in ".{0,80}", bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = Page::<u32>::parse("List", 1, &token, &"");
            let _ = Page::<(String, u32)>::parse("List", 1, &BASE64.encode(bytes), &"");
        }
    }
}
