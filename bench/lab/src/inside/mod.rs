//! The process that becomes the lab: its namespaces, the emulator's thread and the programs.
//!
//! 1. [`sys`]: what is not safe by itself
//! 2. [`netlink`]: addresses and routes
//! 3. [`namespace`]: a network of its own with a TUN device
//! 4. [`lateness`]: how well the emulator keeps its time
//! 5. [`emulator`]: moves packets between the devices
//! 6. [`program`]: what runs in a namespace
//! 7. [`mod@report`]: what was measured, and whether it can be trusted
//! 8. [`mod@run`]: all of it, once

mod sys;

mod netlink;

mod namespace;

mod lateness;

mod emulator;

mod program;

mod report;

mod run;

pub(crate) use run::run;
