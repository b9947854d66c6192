//! Addresses that deserve a second look. Nothing is fetched.

use url::{Host, ParseError, Url};

/// Longer ones fail in some browsers and servers, and are not parsed here either.
const LENGTH_MAX: usize = 2048;

/// Every reason to doubt an address that is shown as `text`.
pub(super) fn doubts(address: &str, text: &str) -> Vec<String> {
    if address.len() > LENGTH_MAX {
        return vec![format!("the address is longer than {LENGTH_MAX} bytes")];
    }
    let mut doubts = Vec::new();
    if address.contains(|c: char| c.is_whitespace() || c.is_control()) {
        doubts.push("the address contains white space or a control character".to_owned());
    }
    match Url::parse(address) {
        Ok(url) => doubts.extend(of_url(&url, text).into_iter().map(str::to_owned)),
        // A path or a fragment of this document or site.
        Err(ParseError::RelativeUrlWithoutBase) => {}
        Err(error) => doubts.push(format!("the address is not valid: {error}")),
    }
    doubts
}

fn of_url(url: &Url, text: &str) -> Vec<&'static str> {
    match url.scheme() {
        "javascript" | "vbscript" => return vec!["the address is a script"],
        "data" => return vec!["the address is a document of its own"],
        "file" => return vec!["the address is a file on the reader's computer"],
        "http" | "https" => {}
        _ => return Vec::new(),
    }
    let mut doubts = Vec::new();
    if url.scheme() == "http" {
        doubts.push("the connection is not encrypted");
    }
    if !url.username().is_empty() || url.password().is_some() {
        doubts.push("a user name stands before the host, and may pass for it");
    }
    match url.host() {
        Some(Host::Ipv4(_) | Host::Ipv6(_)) => doubts.push("the host is an IP address"),
        Some(Host::Domain("http" | "https")) => doubts.push("the scheme is there twice"),
        Some(Host::Domain(host)) if is_local(host) => {
            doubts.push("the host is only known on the reader's computer or network");
        }
        Some(Host::Domain(host)) if host.split('.').any(|label| label.starts_with("xn--")) => {
            doubts.push("the host has letters beyond ASCII, and may look like another");
        }
        _ => {}
    }
    if shown_host(text).is_some_and(|shown| Some(shown) != url.host_str().map(without_www)) {
        doubts.push("the text shows another host");
    }
    doubts
}

fn is_local(host: &str) -> bool {
    let host = host.trim_end_matches('.');
    !host.contains('.') || host.ends_with(".localhost") || host.ends_with(".local")
}

/// The host of a link's text, if the text is itself an address.
fn shown_host(text: &str) -> Option<String> {
    let text = text.trim();
    let is_address = text.len() <= LENGTH_MAX && !text.contains(char::is_whitespace);
    let url = if text.starts_with("www.") { format!("https://{text}") } else { text.to_owned() };
    let is_web = url.starts_with("http://") || url.starts_with("https://");
    if !is_address || !is_web {
        return None;
    }
    let url = Url::parse(&url).ok()?;
    url.host_str().map(without_www)
}

fn without_www(host: &str) -> String {
    host.strip_prefix("www.").unwrap_or(host).to_owned()
}
