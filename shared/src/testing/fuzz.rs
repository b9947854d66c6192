//! What any bytes do to a function that reads what callers send: seeded, so that a failure comes again.

/// A function that panics when something does not hold, and good inputs to begin with.
pub struct Target {
    /// As the fuzzer knows it.
    pub name: &'static str,
    /// What the function takes, and what nearly is.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Reads an input, and checks what must hold of what it made of it.
    pub check: fn(&[u8]),
}

/// Inputs near to `seeds`, the same for the same number (SplitMix64).
struct Mutator {
    state: u64,
    seeds: Vec<Vec<u8>>,
}

/// Bytes that mean something to a reader of texts, of base64, of numbers or of UTF-8.
const TELLING: &[u8] = b"\0\t\n\r \"'%+,-./019:=?@AZ[\\]_az{|}~\x7f\x80\xc3\xe2\xf0\xff";
/// The longest input, in bytes.
const LENGTH_MAX: usize = 16 << 10;

impl Target {
    /// Checks each seed, and `count` inputs near to them.
    ///
    /// # Panics
    /// With the target and the input, when something does not hold.
    pub fn check_many(&self, seed: u64, count: usize) {
        let mut mutator = Mutator { state: seed, seeds: (self.seeds)() };
        for good in mutator.seeds.clone() {
            self.check_one(&good);
        }
        for _ in 0..count {
            self.check_one(&mutator.input());
        }
    }

    fn check_one(&self, input: &[u8]) {
        let shown = Shown { target: self.name, input };
        (self.check)(input);
        drop(shown);
    }
}

/// Shows the input while the check of it panics.
struct Shown<'a> {
    target: &'a str,
    input: &'a [u8],
}

impl Drop for Shown<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}: the input is b\"{}\"", self.target, self.input.escape_ascii());
        }
    }
}

impl Mutator {
    fn below(&mut self, limit: usize) -> usize {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = self.state;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((bits ^ (bits >> 31)) >> 11) as usize % limit.max(1)
    }

    fn input(&mut self) -> Vec<u8> {
        let at = self.below(self.seeds.len());
        let mut input = self.seeds[at].clone();
        // Mostly one change: what is far from a good input is refused at once.
        let changes = 1 + [0, 0, 0, 1, 3, 8][self.below(6)];
        for _ in 0..changes {
            self.change(&mut input);
        }
        input.truncate(LENGTH_MAX);
        input
    }

    fn change(&mut self, input: &mut Vec<u8>) {
        let at = self.below(input.len());
        let end = (at + 1 + self.below(8)).min(input.len());
        let telling = TELLING[self.below(TELLING.len())];
        match self.below(10) {
            0 | 1 if !input.is_empty() => input[at] ^= 1 << self.below(8),
            2 if !input.is_empty() => input[at] = telling,
            3 if !input.is_empty() => input[at] = self.below(256) as u8,
            4 => input.insert(at, telling),
            5 => drop(input.drain(at.min(end)..end)),
            6 => {
                let twice = input[at.min(end)..end].repeat(1 + self.below(40));
                input.splice(at..at, twice);
            }
            7 if !input.is_empty() => {
                let other = self.below(input.len());
                input.swap(at, other);
            }
            8 => input.truncate(at),
            // The beginning of one and the end of another.
            _ => {
                let other = self.below(self.seeds.len());
                let other = self.seeds[other].clone();
                let from = self.below(other.len());
                input.truncate(at);
                input.extend_from_slice(&other[from.min(other.len())..]);
            }
        }
    }
}
