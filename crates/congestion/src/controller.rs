//! The same, as quinn wants it.

use std::{any::Any, sync::Arc, time::Instant};

use quinn_proto::{
    RttEstimator,
    congestion::{Controller, ControllerFactory},
};

use crate::{round::Rounds, window::Window};

/// Makes the controllers of links.
///
/// Give it to [`TransportConfig::congestion_controller_factory`](quinn_proto::TransportConfig); it needs quinn's
/// `packet_threshold` at its default of 3, since a lost packet is not expensive here, but a late one is.
#[derive(Debug, Clone, Copy, Default)]
pub struct Adaptive;

impl ControllerFactory for Adaptive {
    fn build(self: Arc<Self>, _now: Instant, current_mtu: u16) -> Box<dyn Controller> {
        Box::new(Adapting { rounds: Rounds::default(), window: Window::new(current_mtu) })
    }
}

/// One link's controller.
#[derive(Debug, Clone)]
struct Adapting {
    rounds: Rounds,
    window: Window,
}

impl Controller for Adapting {
    fn on_sent(&mut self, _now: Instant, bytes: u64, last_packet_number: u64) {
        self.rounds.sent(bytes, last_packet_number, self.window.bytes());
    }

    fn on_ack(&mut self, now: Instant, sent: Instant, bytes: u64, _app_limited: bool, _rtt: &RttEstimator) {
        let rtt = now.saturating_duration_since(sent);
        self.rounds.acked(bytes, rtt);
        self.window.on_ack(bytes, rtt, self.rounds.filled());
    }

    fn on_end_acks(&mut self, now: Instant, in_flight: u64, _app_limited: bool, largest_acked: Option<u64>) {
        if let Some(round) = self.rounds.acks_end(now, in_flight, largest_acked) {
            self.window.on_round(now, &round);
        }
    }

    fn on_congestion_event(&mut self, now: Instant, _sent: Instant, is_persistent: bool, lost_bytes: u64) {
        self.rounds.lost(lost_bytes);
        if is_persistent {
            self.window.on_silence();
        } else if lost_bytes == 0 {
            self.window.on_mark(now);
        }
    }

    fn on_mtu_update(&mut self, new_mtu: u16) {
        self.window.set_mtu(new_mtu);
    }

    fn window(&self) -> u64 {
        self.window.bytes()
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(self.clone())
    }

    fn initial_window(&self) -> u64 {
        self.window.bytes_start()
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}
