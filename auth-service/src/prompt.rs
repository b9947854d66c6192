//! Reading a password from standard input, and from a terminal without showing it.

use std::io::{self, BufRead as _, IsTerminal as _, Read as _, Write as _, stdin, stdout};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

/// How many bytes are read at the most: more than any password has.
const LINE_MAX: u64 = 4096;

/// The first line of standard input, without its end.
///
/// # Errors
/// When it can't be read.
pub(crate) fn password() -> io::Result<String> {
    if !stdin().is_terminal() {
        return line();
    }
    print!("Password: ");
    stdout().flush()?;
    let hidden = Hidden::hide()?;
    let line = line();
    drop(hidden);
    println!();
    line
}

fn line() -> io::Result<String> {
    let mut line = String::new();
    stdin().lock().take(LINE_MAX).read_line(&mut line)?;
    line.truncate(line.trim_end_matches(['\r', '\n']).len());
    Ok(line)
}

/// Shows what is typed again when dropped.
struct Hidden(Termios);

impl Hidden {
    fn hide() -> io::Result<Self> {
        let shown = tcgetattr(stdin())?;
        let mut hidden = shown.clone();
        hidden.local_modes.remove(LocalModes::ECHO);
        tcsetattr(stdin(), OptionalActions::Flush, &hidden)?;
        Ok(Hidden(shown))
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        // Nothing better can be done when the terminal is gone.
        let _ = tcsetattr(stdin(), OptionalActions::Now, &self.0);
    }
}
