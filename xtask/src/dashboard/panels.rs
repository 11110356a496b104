//! What the dashboard shows, row by row.

/// One panel.
pub(super) struct Shown {
    pub(super) title: &'static str,
    pub(super) description: &'static str,
    /// As Grafana names units.
    pub(super) unit: &'static str,
    /// Each with the legend of its series.
    pub(super) queries: &'static [(&'static str, &'static str)],
}

/// SYNs, alerts, groups, queues, and whether all of it is to be believed.
pub(super) const ROWS: &[&[Shown]] = &[
    &[MISDIRECTED, ACTIVE, EXPECTED],
    &[SYNS, MATCHES, REFUSED],
    &[BALANCE, MEMBERS, QUEUES],
    &[BLINDNESS, LOST, COST],
    &[SINKS, BOUNDS],
];

const MISDIRECTED: Shown = Shown {
    title: "SYNs that alerts cover",
    description: "By what was wrong, and the listener that was given them.",
    unit: "reqps",
    queries: &[(
        r#"sum by (instance, verdict, reason, service, listener) (rate(sockpick_alerts_total{instance=~"$instance"}[$__rate_interval]))"#,
        "{{instance}} {{verdict}} {{reason}} {{service}} to {{listener}}",
    )],
};

const ACTIVE: Shown = Shown {
    title: "Alerts that last",
    description: "And SYNs of alerts that were not told one by one.",
    unit: "short",
    queries: &[
        (
            r#"sockpick_alerts_active{instance=~"$instance"}"#,
            "{{instance}} active",
        ),
        (
            r#"increase(sockpick_alerts_suppressed_total{instance=~"$instance"}[$__rate_interval])"#,
            "{{instance}} suppressed",
        ),
    ],
};

const EXPECTED: Shown = Shown {
    title: "Services that listen",
    description: "1: at every address they should.",
    unit: "short",
    queries: &[(
        r#"sockpick_expected_listener_up{instance=~"$instance"}"#,
        "{{instance}} {{service}}",
    )],
};

const SYNS: Shown = Shown {
    title: "SYNs by listener",
    description: "The twenty that were given most.",
    unit: "reqps",
    queries: &[(
        r#"topk(20, sum by (instance, netns, listener) (rate(sockpick_syn_total{instance=~"$instance"}[$__rate_interval])))"#,
        "{{instance}} {{netns}} {{listener}}",
    )],
};

const MATCHES: Shown = Shown {
    title: "How listeners were chosen",
    description: "How the listener fits the packet, and what chose it.",
    unit: "reqps",
    queries: &[(
        r#"sum by (instance, match, via) (rate(sockpick_syn_total{instance=~"$instance"}[$__rate_interval]))"#,
        "{{instance}} {{match}} {{via}}",
    )],
};

const REFUSED: Shown = Shown {
    title: "SYNs that nobody got",
    description: "The twenty ports that were refused most.",
    unit: "reqps",
    queries: &[(
        r#"topk(20, sum by (instance, netns, port) (rate(sockpick_refused_total{instance=~"$instance"}[$__rate_interval])))"#,
        "{{instance}} {{netns}} :{{port}}",
    )],
};

const BALANCE: Shown = Shown {
    title: "Balance of reuseport groups",
    description: "The busiest member's SYNs over its fair share: 1 is even.",
    unit: "short",
    queries: &[(
        r#"group:sockpick_reuseport_imbalance:ratio_rate5m{instance=~"$instance"}"#,
        "{{instance}} {{group}}",
    )],
};

const MEMBERS: Shown = Shown {
    title: "Members of reuseport groups",
    description: "When the last SYN came.",
    unit: "short",
    queries: &[(
        r#"sockpick_reuseport_group_members{instance=~"$instance"}"#,
        "{{instance}} {{group}}",
    )],
};

const QUEUES: Shown = Shown {
    title: "Accept queues",
    description: "The ten fullest, of their limit; and SYNs that a full one dropped.",
    unit: "short",
    queries: &[
        (
            r#"topk(10, sockpick_listener_accept_queue_length{instance=~"$instance"} / (sockpick_listener_accept_queue_limit{instance=~"$instance"} + 1))"#,
            "{{instance}} {{netns}} {{listener}} filled",
        ),
        (
            r#"rate(sockpick_listener_overflows_total{instance=~"$instance"}[$__rate_interval]) > 0"#,
            "{{instance}} {{netns}} {{listener}} dropped/s",
        ),
    ],
};

const BLINDNESS: Shown = Shown {
    title: "Self-check",
    description: "Connections of sockpick's own: seen as they were, or not.",
    unit: "short",
    queries: &[(
        r#"increase(sockpick_self_check_total{instance=~"$instance"}[$__rate_interval])"#,
        "{{instance}} {{result}}",
    )],
};

const LOST: Shown = Shown {
    title: "What was not seen",
    description: "Events lost by stage, and probes that the kernel skipped.",
    unit: "short",
    queries: &[
        (
            r#"rate(sockpick_events_lost_total{instance=~"$instance"}[$__rate_interval])"#,
            "{{instance}} lost, {{stage}}",
        ),
        (
            r#"rate(sockpick_probe_missed_total{instance=~"$instance"}[$__rate_interval])"#,
            "{{instance}} skipped, {{probe}}",
        ),
    ],
};

const COST: Shown = Shown {
    title: "Time that probes run",
    description: "Of one CPU; only while kernel.bpf_stats_enabled is 1.",
    unit: "percentunit",
    queries: &[(
        r#"rate(sockpick_bpf_run_seconds_total{instance=~"$instance"}[$__rate_interval])"#,
        "{{instance}} {{probe}}",
    )],
};

const SINKS: Shown = Shown {
    title: "Sinks",
    description: "Sends by result, and how full their queues are.",
    unit: "short",
    queries: &[
        (
            r#"rate(sockpick_sink_sends_total{instance=~"$instance"}[$__rate_interval])"#,
            "{{instance}} {{sink}} {{result}}/s",
        ),
        (
            r#"sockpick_sink_queue_length{instance=~"$instance"} / sockpick_sink_queue_limit{instance=~"$instance"}"#,
            "{{instance}} {{sink}} queue filled",
        ),
    ],
};

const BOUNDS: Shown = Shown {
    title: "Bounds",
    description: "How full bounded maps of the pipeline are, and what found no series.",
    unit: "short",
    queries: &[
        (
            r#"sockpick_map_entries{instance=~"$instance"} / sockpick_map_capacity{instance=~"$instance"}"#,
            "{{instance}} {{map}} filled",
        ),
        (
            r#"rate(sockpick_label_overflow_total{instance=~"$instance"}[$__rate_interval])"#,
            "{{instance}} without a series/s",
        ),
    ],
};
