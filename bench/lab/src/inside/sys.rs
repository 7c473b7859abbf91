//! What is not safe by itself: everything here that the compiler cannot check.

use std::{io, os::fd::AsFd};

use rustix::{
    ioctl::{Opcode, Setter, ioctl},
    process::{Signal, set_parent_process_death_signal},
    thread::UnshareFlags,
};

#[expect(clippy::cast_possible_truncation, reason = "codes have 32 bits, whatever type a C library gives them")]
const TUNSETIFF: Opcode = libc::TUNSETIFF as Opcode;

/// Leaves the network namespace for a new one.
pub(super) fn new_network_namespace() -> io::Result<()> {
    // SAFETY: of the flags, only FILES can harm other threads.
    Ok(unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }?)
}

/// Leaves the user namespace for a new one, which only a process with a single thread can.
pub(super) fn new_user_namespace() -> io::Result<()> {
    // SAFETY: of the flags, only FILES can harm other threads.
    Ok(unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWUSER) }?)
}

/// Makes `tun` a device in the network namespace of the calling thread.
///
/// Without `IFF_VNET_HDR`, so that the kernel cuts segments before they come here: one read is one packet.
pub(super) fn attach_tun(tun: impl AsFd, name: &str) -> io::Result<()> {
    /// `struct ifreq`, as far as `TUNSETIFF` reads it.
    #[repr(C)]
    struct Request {
        name: [u8; libc::IFNAMSIZ],
        flags: u16,
        rest: [u8; 22],
    }
    #[expect(clippy::cast_possible_truncation, reason = "the kernel's flags have 16 bits")]
    let flags = (libc::IFF_TUN | libc::IFF_NO_PI) as u16;
    let mut request = Request { name: [0; libc::IFNAMSIZ], flags, rest: [0; 22] };
    // The last byte stays zero: it ends the name.
    for (to, from) in request.name[..libc::IFNAMSIZ - 1].iter_mut().zip(name.bytes()) {
        *to = from;
    }
    // SAFETY: TUNSETIFF takes a pointer to a `struct ifreq`, which has this layout and these 40 bytes.
    Ok(unsafe { ioctl(tun, Setter::<TUNSETIFF, Request>::new(request)) }?)
}

/// Schedules the calling thread before every ordinary one.
pub(super) fn become_real_time() -> io::Result<()> {
    let parameters = libc::sched_param { sched_priority: 10 };
    // SAFETY: 0 is the calling thread, and the kernel only reads the parameters.
    match unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK, &raw const parameters) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Has the kernel kill what `command` starts when the calling thread ends, however it ends.
pub(super) fn die_with_this_thread(command: &mut tokio::process::Command) {
    // SAFETY: between fork and exec only a system call is made, which neither allocates nor takes a lock.
    unsafe { command.pre_exec(|| Ok(set_parent_process_death_signal(Some(Signal::KILL))?)) };
}
