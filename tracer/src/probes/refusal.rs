//! Why the kernel refused a map or a program, in words: what is missing, or what its verifier
//! said.

use std::io;

use aya::programs::ProgramError;

use crate::{failure::Failure, remark::remark};

fn errno(error: &(dyn std::error::Error + 'static)) -> Option<i32> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(io) = error.downcast_ref::<io::Error>() {
            return io.raw_os_error();
        }
        cause = error.source();
    }
    None
}

pub(super) fn is_permission(error: &ProgramError) -> bool {
    matches!(errno(error), Some(libc::EPERM | libc::EACCES)) && !is_verifiers(error)
}

/// Whether the verifier looked at the program, and refused it: only then is there a log. It says
/// EACCES for much of what it refuses, as the kernel does for a missing right.
pub(super) fn is_verifiers(error: &ProgramError) -> bool {
    verifier_log(error).is_some()
}

fn verifier_log(error: &ProgramError) -> Option<String> {
    let ProgramError::LoadError { verifier_log, .. } = error else {
        return None;
    };
    let log = verifier_log.to_string();
    (!log.trim().is_empty()).then_some(log)
}

/// For `--debug-programs`: everything the verifier said.
pub(super) fn show_log(program: &str, error: &ProgramError) {
    if let Some(log) = verifier_log(error) {
        remark(format_args!(
            "the verifier's log of {program}:\n{}",
            log.trim_end()
        ));
    }
}

/// The kernel refuses sockpick's maps.
pub(crate) fn refused_maps(error: &(dyn std::error::Error + 'static)) -> anyhow::Error {
    refused("maps", errno(error), error.to_string())
}

/// The kernel refuses a program in a way that no other mechanism would change.
pub(super) fn refused_program(name: &str, error: &ProgramError) -> anyhow::Error {
    if !is_verifiers(error) {
        return refused("programs", errno(error), brief(error));
    }
    Failure::environment(format!(
        "the kernel's verifier refuses sockpick's program {name}: {}. No right is missing; this \
         is a fault of sockpick on this kernel. Please report it with the output of sockpick \
         trace --debug-programs.",
        brief(error)
    ))
    .into()
}

fn refused(what: &str, errno: Option<i32>, error: String) -> anyhow::Error {
    let cause = match errno {
        Some(libc::EPERM | libc::EACCES) => {
            "permission denied. Run as root; if you do, lockdown or another security module \
             forbids it."
                .to_owned()
        }
        _ => error,
    };
    Failure::environment(format!("the kernel refuses sockpick's {what}: {cause}"))
        .see_doctor()
        .into()
}

/// The last words of a verifier's log, or the error itself.
pub(super) fn brief(error: &ProgramError) -> String {
    if let ProgramError::LoadError {
        io_error,
        verifier_log,
    } = error
    {
        return with_last_words(io_error, &verifier_log.to_string());
    }
    let cause = std::error::Error::source(error).map(|source| format!(": {source}"));
    format!("{error}{}", cause.unwrap_or_default())
}

fn with_last_words(error: &io::Error, log: &str) -> String {
    let statistics = ["processed", "stack depth", "verification time"];
    let words = log.lines().rev().find(|line| {
        !line.trim().is_empty() && !statistics.iter().any(|word| line.starts_with(word))
    });
    match words {
        Some(words) => format!("{error} ({})", words.trim()),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused_load(errno: i32, log: &str) -> ProgramError {
        ProgramError::LoadError {
            io_error: io::Error::from_raw_os_error(errno),
            verifier_log: aya_obj::VerifierLog::new(log.to_owned()),
        }
    }

    #[test]
    fn the_last_words_of_a_verifier_are_no_statistics() {
        let error = io::Error::from_raw_os_error(libc::EACCES);
        let log = "0: (79) r6 = *(u64 *)(r1 +0)\n\
                   R1 invalid mem access\n\
                   processed 1 insns (limit 1000000)\n\n";
        let words = with_last_words(&error, log);
        assert!(words.ends_with("(R1 invalid mem access)"), "{words}");
        assert_eq!(with_last_words(&error, "\n"), error.to_string());
    }

    #[test]
    fn only_without_a_log_a_right_is_missing() {
        for errno in [libc::EPERM, libc::EACCES] {
            assert!(is_permission(&refused_load(errno, " ")));
            assert!(!is_permission(&refused_load(
                errno,
                "R1 invalid mem access"
            )));
        }
        assert!(!is_permission(&refused_load(libc::ENOENT, "")));
        let said = |log| refused_program("listen_k", &refused_load(libc::EPERM, log)).to_string();
        assert!(said("").contains("Run as root"), "{}", said(""));
        let fault = said("R1 invalid mem access");
        assert!(
            fault.contains("listen_k") && fault.contains("R1 invalid mem access"),
            "{fault}"
        );
    }

    #[test]
    fn the_number_of_an_error_is_found_below_others() {
        let error = io::Error::from_raw_os_error(libc::EPERM);
        let error = ProgramError::SyscallError(aya::sys::SyscallError {
            call: "bpf_link_create",
            io_error: error,
        });
        assert!(is_permission(&error));
        assert!(refused_maps(&error).to_string().contains("sockpick's maps"));
    }
}
