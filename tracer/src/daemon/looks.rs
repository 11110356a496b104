//! Looks at who listens, again and again, each on a thread of its own: it asks every process and
//! namespace, and nobody waits for it.

use std::{sync::Arc, thread, time::Duration};

use anyhow::{Result, anyhow};
use tokio::{
    sync::oneshot,
    time::{Instant, sleep_until},
};

use crate::{
    cli::ScopeArgs,
    judge::rules::Algorithm,
    namespaces,
    settings::Watch,
    survey::{self, look::Looked},
};

/// How long queues are watched, as `sockpick audit` does.
const QUEUES: Duration = Duration::from_millis(200);

/// What a look came to: findings, the worst first, and what could not be seen.
pub(super) type Outcome = Result<Looked>;

enum State {
    Resting(Instant),
    Looking(oneshot::Receiver<Outcome>),
}

/// Looks once.
pub(super) type Look = Arc<dyn Fn() -> Outcome + Send + Sync>;

/// Makes the looks.
pub(super) struct Looks {
    interval: Duration,
    state: State,
    look: Look,
}

impl Looks {
    /// The first at once, and one at each interval.
    pub(super) fn new(interval: Duration, look: Look) -> Self {
        Self {
            interval,
            state: State::Resting(Instant::now()),
            look,
        }
    }

    /// From now on at another interval, and others; the next at once.
    pub(super) fn renew(&mut self, interval: Duration, look: Look) {
        *self = Self::new(interval, look);
    }

    /// Waits for the next to be done. Cancelling it loses nothing.
    pub(super) async fn step(&mut self) -> Outcome {
        loop {
            match &mut self.state {
                State::Resting(until) => {
                    sleep_until(*until).await;
                    self.state = State::Looking(begin(Arc::clone(&self.look)));
                }
                State::Looking(done) => {
                    let outcome = done.await;
                    self.state = State::Resting(Instant::now() + self.interval);
                    return outcome.unwrap_or_else(|_| Err(anyhow!("its thread ended early")));
                }
            }
        }
    }
}

fn begin(look: Look) -> oneshot::Receiver<Outcome> {
    let (finish, done) = oneshot::channel();
    let spawned = thread::Builder::new()
        .name("look".to_owned())
        .spawn(move || {
            // Nobody asks any more if the daemon ends, or looks elsewhere.
            let _ = finish.send(look());
        });
    // Without a thread the channel is closed, which is told as a failure.
    drop(spawned);
    done
}

/// What `sockpick audit` finds at the ports and in the namespaces that are watched.
pub(super) fn of(watch: Watch, algorithm: Algorithm) -> Look {
    Arc::new(move || look(&watch, algorithm))
}

fn look(watch: &Watch, algorithm: Algorithm) -> Outcome {
    let names = watch.netns.iter();
    // One that is yet to come has no listeners.
    let there = names.filter(|name| namespaces::named(name).is_ok());
    let scope = ScopeArgs {
        port: watch.ports.clone(),
        netns: there.cloned().collect(),
    };
    if scope.netns.is_empty() && !watch.netns.is_empty() {
        return Ok(Looked::default());
    }
    survey::look::look(&scope, QUEUES, algorithm)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nothing() -> Look {
        Arc::new(|| Ok(Looked::default()))
    }

    #[tokio::test]
    async fn the_first_look_is_at_once_and_the_next_after_the_interval() {
        let interval = Duration::from_millis(50);
        let mut looks = Looks::new(interval, nothing());
        let began = Instant::now();
        assert!(looks.step().await.is_ok());
        let first = began.elapsed();
        assert!(looks.step().await.is_ok());
        assert!(began.elapsed() >= first + interval);
        let day = Duration::from_hours(24);
        looks.renew(day, nothing());
        assert!(looks.step().await.is_ok(), "at once, as it is another");
        assert!(matches!(looks.state, State::Resting(until) if until > Instant::now() + day / 2));
    }

    #[tokio::test]
    async fn a_look_that_breaks_off_is_told_and_others_follow() {
        let mut looks = Looks::new(Duration::ZERO, Arc::new(|| panic!("as it goes")));
        for _ in 0..2 {
            let error = looks.step().await.expect_err("it broke off");
            assert!(error.to_string().contains("ended early"), "{error}");
        }
    }

    #[tokio::test]
    async fn waiting_for_a_look_may_be_cancelled() {
        let slow = || {
            thread::sleep(Duration::from_millis(100));
            Ok(Looked::default())
        };
        let mut looks = Looks::new(Duration::from_hours(1), Arc::new(slow));
        for _ in 0..3 {
            let short = Duration::from_millis(5);
            assert!(tokio::time::timeout(short, looks.step()).await.is_err());
        }
        assert!(looks.step().await.is_ok(), "it is one and the same");
    }

    #[test]
    fn where_no_namespace_has_the_name_there_is_nothing_to_be_found() {
        use crate::judge::netns::NetnsName;
        let watch = Watch {
            netns: vec![NetnsName::Name("sockpick-test-nobody".into())],
            ..Watch::default()
        };
        let looked = look(&watch, Algorithm::AddressFirst).expect("it is no mistake");
        assert!(looked.findings.is_empty() && looked.remarks.is_empty());
    }
}
