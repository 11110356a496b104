//! Who asks the daemon for its metrics all the time, and looks at the memory that it takes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::soak::Taken;
use crate::daemon::Daemon;

/// A scrape that takes longer is answered with 503.
const SCRAPE: Duration = Duration::from_secs(5);
/// The documentation says 24 MiB without other listeners, and this is to find a leak.
const MOST_KIB: u64 = 40 * 1024;

/// Who asks for the metrics again and again, and looks at the memory of the daemon.
pub(super) struct Scraper {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<Scraped>>,
}

#[derive(Debug, Default)]
pub(super) struct Scraped {
    times: u32,
    longest: Duration,
    most_kib: u64,
}

impl Scraper {
    pub(super) fn start(pid: u32) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut scraped = Scraped::default();
            while !told.load(Ordering::Relaxed) || scraped.times == 0 {
                scraped.once(pid)?;
            }
            Ok(scraped)
        });
        Self { stop, thread }
    }

    pub(super) fn end(self) -> Result<Scraped> {
        self.stop.store(true, Ordering::Relaxed);
        let scraped = self.thread.join();
        scraped.map_err(|_| anyhow::anyhow!("the scraper panicked"))?
    }
}

impl Scraped {
    pub(super) fn once(&mut self, pid: u32) -> Result<()> {
        let start = Instant::now();
        let (status, body) = Daemon::get("/metrics")?;
        let took = start.elapsed();
        if status != 200 || took > SCRAPE {
            bail!("a scrape was answered with {status} after {took:?}: {body}");
        }
        let Taken { rss_kib, .. } = Taken::by(pid)?;
        if rss_kib > MOST_KIB {
            bail!("the daemon has {rss_kib} KiB");
        }
        self.times += 1;
        self.longest = self.longest.max(took);
        self.most_kib = self.most_kib.max(rss_kib);
        Ok(())
    }
}
