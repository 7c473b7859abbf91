//! Metrics in the text format of Prometheus. Labels come from configuration, never from a request.

use std::{
    fmt, fs,
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use adit_core::{
    group::{Carrier, Health},
    handshakes::HalfOpen,
};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
    registry::Registry as Exposition,
};

use super::view::health_name;
use crate::{
    expiry::Dated,
    link::doorway::Doorway,
    meter::{BUCKET_BOUNDS_US, Histogram, Meter},
    registry::{GroupLinks, Registry, Traffic},
};

/// The media type of [`text`].
pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Returns everything as it is now.
pub(super) fn text(
    registry: Arc<Registry>,
    certificates: Arc<Vec<Dated>>,
    doorway: Option<Arc<Doorway>>,
) -> Result<String, fmt::Error> {
    let mut exposition = Exposition::default();
    exposition.register_collector(Box::new(Snapshot { registry, certificates, doorway }));
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &exposition)?;
    Ok(text)
}

/// What is counted is read when it is asked for, so that requests only ever add to plain counters.
#[derive(Debug)]
struct Snapshot {
    registry: Arc<Registry>,
    certificates: Arc<Vec<Dated>>,
    doorway: Option<Arc<Doorway>>,
}

impl Collector for Snapshot {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let meters = self.registry.meters().all();
        exchanges(&mut encoder, &meters)?;
        let groups = self.registry.groups();
        links(&mut encoder, &groups)?;
        waiting(&mut encoder, &groups)?;
        retries(&mut encoder, &groups)?;
        if let Some(doorway) = &self.doorway {
            handshakes(&mut encoder, doorway)?;
        }
        tasks(&mut encoder)?;
        expiries(&mut encoder, &self.certificates)?;
        process(&mut encoder)
    }
}

fn exchanges(encoder: &mut DescriptorEncoder<'_>, meters: &[Arc<Meter>]) -> fmt::Result {
    let help = "Exchanges that ended: with a response of this class, or with this failure";
    let mut family = encoder.encode_descriptor("adit_exchanges", help, None, MetricType::Counter)?;
    for meter in meters {
        let [side, group] = labels(meter);
        for (class, count) in ["1xx", "2xx", "3xx", "4xx", "5xx"].into_iter().zip(meter.responses()) {
            counter(&mut family, [side, group, ("outcome", class), ("code", "")], count)?;
        }
        for (code, count) in meter.failures().into_iter().filter(|(_, count)| *count > 0) {
            counter(&mut family, [side, group, ("outcome", "failed"), ("code", code)], count)?;
        }
    }
    let help = "Exchanges in flight";
    let mut family = encoder.encode_descriptor("adit_exchanges_in_flight", help, None, MetricType::Gauge)?;
    for meter in meters {
        gauge(&mut family, labels(meter), meter.in_flight())?;
    }
    let help = "Bytes of request bodies";
    let mut family = encoder.encode_descriptor("adit_request_body_bytes", help, None, MetricType::Counter)?;
    for meter in meters {
        counter(&mut family, labels(meter), meter.body_bytes().0)?;
    }
    let help = "Bytes of response bodies";
    let mut family = encoder.encode_descriptor("adit_response_body_bytes", help, None, MetricType::Counter)?;
    for meter in meters {
        counter(&mut family, labels(meter), meter.body_bytes().1)?;
    }
    let help = "From the start of an exchange to the head of its response";
    let mut family = encoder.encode_descriptor("adit_response_head_seconds", help, None, MetricType::Histogram)?;
    for meter in meters {
        histogram(&mut family, labels(meter), meter.response_head())?;
    }
    Ok(())
}

fn labels(meter: &Meter) -> [(&str, &str); 2] {
    [("side", meter.side().as_str()), ("group", meter.group().map_or("", |group| group.as_str()))]
}

fn links(encoder: &mut DescriptorEncoder<'_>, groups: &[Arc<GroupLinks>]) -> fmt::Result {
    let mut family = encoder.encode_descriptor("adit_links", "Links", None, MetricType::Gauge)?;
    for group in groups {
        for health in [Health::Healthy, Health::Full, Health::Aside, Health::Suspect, Health::Draining] {
            let members = group.members();
            let count = members.as_slice().iter().filter(|member| member.link.health() == health).count();
            let labels = [("group", group.name().as_str()), ("health", health_name(health))];
            gauge(&mut family, labels, u64::try_from(count).unwrap_or(u64::MAX))?;
        }
    }
    let help = "Smoothed round-trip time: the mean and the longest of a group's links";
    let mut family = encoder.encode_descriptor("adit_link_rtt_seconds", help, None, MetricType::Gauge)?;
    for group in groups {
        let rtts: Vec<_> = group.members().as_slice().iter().map(|member| member.link.stats().path.rtt).collect();
        let Some(max) = rtts.iter().max() else { continue };
        let mean = rtts.iter().sum::<Duration>() / u32::try_from(rtts.len()).unwrap_or(u32::MAX);
        for (stat, rtt) in [("mean", mean), ("max", *max)] {
            gauge(&mut family, [("group", group.name().as_str()), ("stat", stat)], rtt.as_secs_f64())?;
        }
    }
    traffic(encoder, groups)
}

fn waiting(encoder: &mut DescriptorEncoder<'_>, groups: &[Arc<GroupLinks>]) -> fmt::Result {
    let help = "Exchanges that wait for their turn, on a link or in a group that has as many as it may have";
    let mut family = encoder.encode_descriptor("adit_exchanges_waiting", help, None, MetricType::Gauge)?;
    for group in groups {
        gauge(&mut family, [("group", group.name().as_str())], group.waiting())?;
    }
    Ok(())
}

fn retries(encoder: &mut DescriptorEncoder<'_>, groups: &[Arc<GroupLinks>]) -> fmt::Result {
    let help = "Exchanges that were asked again on another link";
    let mut family = encoder.encode_descriptor("adit_retries", help, None, MetricType::Counter)?;
    for group in groups {
        counter(&mut family, [("group", group.name().as_str())], group.retries().granted())?;
    }
    let help = "Exchanges that were not asked again because the retry budget was spent";
    let mut family = encoder.encode_descriptor("adit_retries_refused", help, None, MetricType::Counter)?;
    for group in groups {
        counter(&mut family, [("group", group.name().as_str())], group.retries().refused())?;
    }
    Ok(())
}

fn traffic(encoder: &mut DescriptorEncoder<'_>, groups: &[Arc<GroupLinks>]) -> fmt::Result {
    let sums: Vec<_> = groups.iter().map(|group| (group.name().as_str(), group.traffic())).collect();
    type Count = fn(&Traffic) -> u64;
    let kinds: [(_, _, Count); 4] = [
        ("adit_link_sent_packets", "QUIC packets sent", |sum| sum.sent_packets),
        ("adit_link_lost_packets", "QUIC packets sent and lost", |sum| sum.lost_packets),
        ("adit_link_sent_bytes", "Bytes of UDP payload sent", |sum| sum.sent_bytes),
        ("adit_link_received_bytes", "Bytes of UDP payload received", |sum| sum.received_bytes),
    ];
    for (name, help, count) in kinds {
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (group, sum) in &sums {
            counter(&mut family, [("group", *group)], count(sum))?;
        }
    }
    Ok(())
}

fn handshakes(encoder: &mut DescriptorEncoder<'_>, doorway: &Doorway) -> fmt::Result {
    let HalfOpen { unvalidated, validated } = doorway.half_open();
    let help = "Handshakes that are not done, by whether the client has proved its address";
    let mut family = encoder.encode_descriptor("adit_handshakes_half_open", help, None, MetricType::Gauge)?;
    for (address, count) in [("unvalidated", unvalidated), ("validated", validated)] {
        gauge(&mut family, [("address", address)], u64::try_from(count).unwrap_or(u64::MAX))?;
    }
    let help = "Clients that came to the tunnel's port, by what became of them";
    let mut family = encoder.encode_descriptor("adit_handshakes", help, None, MetricType::Counter)?;
    for (outcome, count) in doorway.outcomes() {
        counter(&mut family, [("outcome", outcome.as_str())], count)?;
    }
    Ok(())
}

/// Tasks that do not end show here first.
fn tasks(encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let Ok(runtime) = tokio::runtime::Handle::try_current() else { return Ok(()) };
    let alive = u64::try_from(runtime.metrics().num_alive_tasks()).unwrap_or(u64::MAX);
    let help = "Tasks that have not ended";
    ConstGauge::new(alive).encode(encoder.encode_descriptor("adit_tasks", help, None, MetricType::Gauge)?)
}

fn expiries(encoder: &mut DescriptorEncoder<'_>, certificates: &[Dated]) -> fmt::Result {
    let (name, help) =
        ("adit_certificate_expiry_timestamp_seconds", "When the first certificate or list in a file ends");
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for Dated { file, end } in certificates {
        let end = end.duration_since(UNIX_EPOCH).unwrap_or_default();
        gauge(&mut family, [("file", file.as_str())], end.as_secs())?;
    }
    Ok(())
}

/// What Linux says of this process; elsewhere there is nothing to say.
fn process(encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let mut say = |name, help, value| {
        ConstGauge::new(value).encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)
    };
    if let Some(bytes) = resident_bytes() {
        say("process_resident_memory_bytes", "Resident memory", bytes)?;
    }
    if let Ok(descriptors) = fs::read_dir("/proc/self/fd") {
        let count = u64::try_from(descriptors.count()).unwrap_or(u64::MAX);
        say("process_open_fds", "Open descriptors", count)?;
    }
    Ok(())
}

fn resident_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib * 1024)
}

fn counter<const N: usize>(family: &mut MetricEncoder<'_>, labels: [(&str, &str); N], value: u64) -> fmt::Result {
    ConstCounter::new(value).encode(family.encode_family(&labels)?)
}

fn gauge<const N: usize, V>(family: &mut MetricEncoder<'_>, labels: [(&str, &str); N], value: V) -> fmt::Result
where
    ConstGauge<V>: EncodeMetric,
{
    ConstGauge::new(value).encode(family.encode_family(&labels)?)
}

fn histogram(family: &mut MetricEncoder<'_>, labels: [(&str, &str); 2], histogram: &Histogram) -> fmt::Result {
    let seconds = BUCKET_BOUNDS_US.into_iter().map(|us| Duration::from_micros(us).as_secs_f64());
    // The encoder takes this for infinity.
    let bounds = seconds.chain([f64::MAX]);
    let buckets: Vec<_> = bounds.zip(histogram.counts()).collect();
    let count = buckets.iter().map(|(_, count)| count).sum();
    let mut metric = family.encode_family(&labels)?;
    metric.encode_histogram::<[(&str, &str); 0]>(histogram.sum().as_secs_f64(), count, &buckets, None)
}
