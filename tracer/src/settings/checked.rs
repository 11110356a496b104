//! All settings as one value.

use super::{
    feed::{AlertSettings, DaemonSettings, MetricsSettings, Stream},
    sink::SinkSettings,
    watch::Watch,
};
use crate::judge::{expectations::Expectations, netns::NetnsName};

/// Everything that flags and file say, checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Which SYNs are looked at.
    pub watch: Watch,
    /// What should be where.
    pub expectations: Expectations,
    /// What is an alert, and for how long.
    pub alerts: AlertSettings,
    /// Where metrics are to be had.
    pub metrics: MetricsSettings,
    /// Which events are given to sinks.
    pub stream: Stream,
    /// How the daemon looks after itself.
    pub daemon: DaemonSettings,
    /// Where alerts and events go.
    pub sinks: Vec<SinkSettings>,
}

impl Settings {
    /// The same with every namespace as `name` has it, where that fits better.
    ///
    /// # Errors
    /// The first error of `name`.
    pub fn with_netns<E>(
        mut self,
        name: impl Fn(&NetnsName) -> Result<NetnsName, E>,
    ) -> Result<Self, E> {
        let services = self.expectations.services.iter_mut();
        let services = services.filter_map(|service| service.netns.as_mut());
        for netns in self.watch.netns.iter_mut().chain(services) {
            *netns = name(netns)?;
        }
        Ok(self)
    }
}
