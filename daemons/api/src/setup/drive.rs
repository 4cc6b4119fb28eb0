//! The lent drive: who shows it to the target.

use super::{Machine, Start};
use anyhow::Context;
use client::supervisor::Supervisor;
use config::{Config, Layout, MsdType};

pub(super) fn start_msd(
    config: &Config,
    layout: &Layout,
    machine: &Machine,
    supervisor: &Supervisor,
    start: &mut Start<'_>,
) -> anyhow::Result<msd::Msd> {
    let settings = &config.kvmd.msd;
    let ours = msd::Settings {
        root: settings.path.clone(),
        read_chunk: settings.read_chunk_size,
        sync_chunk: settings.sync_chunk_size as u64,
        ..msd::Settings::default()
    };
    let stop = start.stop.child_token();
    let (msd, task) = match settings.r#type {
        MsdType::Disabled => return Ok(msd::Msd::disabled()),
        MsdType::Fake => msd::spawn(ours, msd::Fake::new().drive(), msd::Plain, stop),
        MsdType::Vm => {
            let (qmp, _) = machine.get("kvmd.msd.type")?;
            let drive = msd::VmDrive::new(qmp.clone(), stop.clone());
            msd::spawn(ours, drive, supervisor.clone(), stop)
        }
        MsdType::Otg => {
            let drives = gadget_drives(config, layout, supervisor)?;
            msd::spawn(ours, drives, supervisor.clone(), stop)
        }
    };
    start.keep(task);
    Ok(msd)
}

/// The drive that is lent, and those beside it, which only share the storage.
fn gadget_drives(config: &Config, layout: &Layout, supervisor: &Supervisor) -> anyhow::Result<msd::Drives> {
    let settings = &config.otg;
    let paths = gadget::Paths { name: settings.gadget.clone(), ..gadget::Paths::default() };
    let failed = "cannot watch a drive of the gadget";
    let main = msd::Otg::named(paths.lun(0), drive_names(settings)).context(failed)?;
    let extra = &settings.devices.drives;
    let count = if extra.enabled { u32::try_from(extra.count)? } else { 0 };
    let beside = |number| msd::Otg::new(paths.lun(number)).context(failed);
    let beside = (1..=count).map(beside).collect::<anyhow::Result<Vec<_>>>()?;
    let drives = if config.kvmd.msd.replug {
        let mark = msd::Mark { path: layout.kvmd_state().join("drive-kind"), drive: paths.lun(0) };
        let main = msd::Replugging::new(main, supervisor.clone()).marked(mark);
        msd::Drives::new(beside.iter().fold(main, msd::Replugging::beside))
    } else {
        msd::Drives::new(main)
    };
    Ok(beside.into_iter().fold(drives, msd::Drives::and))
}

/// The supervisor gives it these names; there are kernels that know one, which then has to change with what is lent.
fn drive_names(settings: &config::Otg) -> msd::Names {
    let inquiry = &settings.devices.msd.default.inquiry_string;
    let name = |vendor: &str, product: &str, revision: &str| {
        let vendor = if vendor.is_empty() { settings.manufacturer.as_str() } else { vendor };
        gadget::settings::Inquiry::new(vendor, product, revision).text()
    };
    let (cdrom, flash) = (&inquiry.cdrom, &inquiry.flash);
    msd::Names {
        cdrom: name(&cdrom.vendor, &cdrom.product, &cdrom.revision),
        flash: name(&flash.vendor, &flash.product, &flash.revision),
    }
}
