//! Reads the configuration file, and has it and the command line made into settings.
#![forbid(unsafe_code)]

use std::{fs, path::Path};

use crate::{
    failure::Failure,
    settings::{Given, Settings},
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
    let text = fs::read_to_string(path).map_err(|error| {
        Failure::usage(format!("cannot read the configuration {shown}: {error}"))
    })?;
    // What is wrong with the command line alone is not the file's fault.
    Settings::new(given, None).map_err(Failure::usage)?;
    Settings::new(given, Some(&text)).map_err(|error| Failure::usage(format!("{shown}: {error}")))
}
