//! Reads the configuration file, and has it and the command line made into settings.
#![forbid(unsafe_code)]

use std::{
    fs::File,
    io::{self, Read as _},
    path::Path,
};

use crate::{
    failure::Failure,
    settings::{Given, MOST_BYTES, Settings},
};

/// What the command line and the file say together.
///
/// # Errors
/// A usage [`Failure`] that names the file, the place in it and what is wrong.
pub fn settings(given: &Given, file: Option<&Path>) -> Result<Settings, Failure> {
    let Some(path) = file else {
        return Settings::new(given, None).map_err(Failure::usage);
    };
    let shown = path.display();
    let text = read(path).map_err(|error| {
        Failure::usage(format!("cannot read the configuration {shown}: {error}"))
    })?;
    // What is wrong with the command line alone is not the file's fault.
    Settings::new(given, None).map_err(Failure::usage)?;
    Settings::new(given, Some(&text)).map_err(|error| Failure::usage(format!("{shown}: {error}")))
}

/// What the file says now, while others are to be looked at.
///
/// # Errors
/// As [`settings`], and if it is no file: a pipe that nobody writes to would be waited for.
pub fn again(path: &Path) -> Result<Settings, Failure> {
    if path.exists() && !path.is_file() {
        let shown = path.display();
        let wrong = format!("{shown}: only a file can be read again");
        return Err(Failure::usage(wrong));
    }
    settings(&Given::default(), Some(path))
}

/// What the file says, if it has an end that is not too far off.
fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let mut file = File::open(path)?.take(MOST_BYTES as u64 + 1);
    file.read_to_string(&mut text)?;
    if text.len() > MOST_BYTES {
        let wrong = format!("it is longer than {MOST_BYTES} bytes; is it another file?");
        return Err(io::Error::other(wrong));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_an_end_is_refused() {
        let refused = settings(&Given::default(), Some(Path::new("/dev/zero")));
        let words = refused.expect_err("zeros").to_string();
        assert!(words.contains("/dev/zero: it is longer than"), "{words}");
    }
}
