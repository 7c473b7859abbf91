//! The control stream: what a peer says there.

use adit_core::{
    limits::CONTROL_FRAME_BYTES_MAX,
    wire::{codec, control::Control},
};

use crate::{memory, stable};

/// Texts and names take about what they take on the wire.
const ALLOCATED_BYTES_MAX: usize = 2 * CONTROL_FRAME_BYTES_MAX;

/// One message: decodes within its memory and comes back, or is refused.
pub fn control(data: &[u8]) {
    if data.len() > CONTROL_FRAME_BYTES_MAX {
        return;
    }
    let Ok(message) = memory::within(ALLOCATED_BYTES_MAX, || codec::decode::<Control>(data)) else { return };
    stable::comes_back(
        &message,
        CONTROL_FRAME_BYTES_MAX,
        |message, out| codec::encode(message, CONTROL_FRAME_BYTES_MAX, out),
        |frame| codec::decode(frame),
    );
}
