//! A real nginx with a wildcard server beside, reloaded again and again: nothing goes wrong,
//! so there is no alert.

use std::time::Duration;

use anyhow::Result;

use super::nginx::{Nginx, at_listener, requests, truth};
use crate::attempt::all_answered;
use crate::client::connect;
use crate::compare::compare;
use crate::context::Context;
use crate::listen::Listen;
use crate::netns::Netns;
use crate::server::Server;
use crate::truth::Truth;
use crate::want::{Expect, Wants};

/// Some reloads, one after the other.
pub(crate) fn reloads(cx: &Context) -> Result<()> {
    quiet(cx, 4, Duration::ZERO)
}

/// An hour with a reload every minute: for a guest that skips idle time.
pub(crate) fn hour(cx: &Context) -> Result<()> {
    quiet(cx, 60, Duration::from_mins(1))
}

fn quiet(cx: &Context, reloads: usize, pause: Duration) -> Result<()> {
    let netns = Netns::fresh()?;
    // Before nginx: in one chain per port (before 5.0) the wildcard would take its requests.
    let beside = Server::start(Listen::new("beside", "0.0.0.0:8080")?.group(2))?;
    let nginx = Nginx::start()?;
    let listening = nginx.listening()?;
    let trace = cx.trace(&[])?;
    let of_nginx = truth(&netns, &nginx, &listening)?;
    let of_beside = Truth::of(&[&beside]);
    let mut polled = nginx.polled()?;
    let new_workers = Expect {
        new_heirs: true,
        ..Expect::default()
    };
    let mut wants = Wants::default();
    for nth in 0..=reloads {
        let mut attempts = Vec::new();
        if nth > 0 {
            let old = nginx.workers()?;
            nginx.reload()?;
            attempts.extend(requests(6)?);
            nginx.workers_other_than(&old)?;
            polled.extend(nginx.polled()?);
        }
        attempts.extend(requests(6)?);
        let attempts = at_listener(attempts, &polled)?;
        wants.add(&of_nginx, &attempts, &new_workers)?;
        let attempts = connect("127.0.0.2:8080", 2)?;
        all_answered(&attempts, &["beside"])?;
        wants.add(&of_beside, &attempts, &Expect::default())?;
        std::thread::sleep(pause);
    }
    compare(cx, &trace.finish()?, &wants)
}
