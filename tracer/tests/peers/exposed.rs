//! sockpick's web server, with metrics that the test puts there.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, mpsc},
    thread,
};

use hyper::body::Bytes;
use sockpick::{
    metrics::{Families, Format},
    settings::feed::Listen,
    web::{self, Listening},
};

/// What is served at the moment.
#[derive(Default)]
struct Page(Mutex<Option<Families>>);

impl web::Source for Page {
    async fn metrics(&self, format: Format) -> Result<Bytes, String> {
        let page = self.0.lock().map_err(|error| error.to_string())?;
        let families = page.as_ref().ok_or("nothing is there yet")?;
        let text = families.clone().render(format);
        text.map(Bytes::from).map_err(|error| error.to_string())
    }

    async fn health(&self) -> Result<(), String> {
        Ok(())
    }

    async fn ready(&self) -> Result<(), String> {
        Ok(())
    }
}

/// The server; it ends with the test's process.
pub(crate) struct Exposed {
    pub(crate) at: SocketAddr,
    page: Arc<Page>,
}

impl Exposed {
    pub(crate) fn start() -> Self {
        let page = Arc::<Page>::default();
        let served = Arc::clone(&page);
        let (bound, at) = mpsc::channel();
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            runtime.expect("a runtime").block_on(async {
                let loopback = Listen::Tcp(SocketAddr::from(([127, 0, 0, 1], 0)));
                let listening = Listening::bind(&loopback).expect("a port");
                bound.send(listening.address()).expect("the test waits");
                web::serve(vec![Arc::new(listening)], served).await;
            });
        });
        let at = at.recv().expect("it listens").expect("an address");
        Self { at, page }
    }

    pub(crate) fn show(&self, families: Families) {
        *self.page.0.lock().expect("nobody panicked") = Some(families);
    }
}
