//! `wayfare serve`, and single roles.

use std::path::Path;

use axum::Router;
use sd_notify::NotifyState;
use tokio::net::UnixStream;
use tokio::signal::unix::{SignalKind, signal};
use wayfare::handover::{Inherited, Successor};
use wayfare::{Config, House, Recorder, Roles};

/// Runs the house until SIGTERM or ctrl-c, then drains it.
pub async fn run(config: Config, roles: Roles) -> anyhow::Result<()> {
    // Before the file is replaced: a process that runs a file that is gone does not know its place any more.
    let program = std::env::current_exe()?;
    let inherited = Inherited::from_environment()?;
    let (house, first_key) = House::start_as(roles, &config, Recorder::install()?, Router::new(), inherited).await?;
    if let Some(key) = first_key {
        println!("The first service key, shown once. It opens everything: keep it like a password.\n\n{}\n", key.0);
    }
    if let Some(quic) = house.quic() {
        println!("Drivers on QUIC: {}, certificate SHA-256 {}", quic.address, quic.fingerprint);
    }
    println!("Wayfare listens on {}", house.url());
    // To systemd, if it is there. After a handover the process that it watches is another one.
    let _ = sd_notify::notify(&[NotifyState::MainPid(std::process::id()), NotifyState::Ready]);
    // Kept until the end, which the process after this one waits for.
    let _successor = {
        let replaced = until_replaced(&house, roles.may_overlap(&config), &program);
        tokio::pin!(replaced);
        tokio::select! {
            successor = &mut replaced => successor?,
            settled = house.settle_in() => {
                settled?;
                replaced.await?
            }
        }
    };
    house.drain().await;
    Ok(())
}

/// Waits until this process has to go: told to stop, or another one has taken its place.
async fn until_replaced(house: &House, may: bool, program: &Path) -> anyhow::Result<Option<UnixStream>> {
    let mut replace = signal(SignalKind::user_defined2())?;
    let stopped = until_stopped();
    tokio::pin!(stopped);
    loop {
        tokio::select! {
            stopped = &mut stopped => return stopped.map(|()| None),
            _ = replace.recv() => {}
        }
        if !may {
            tracing::error!(
                "this process holds what only one may have, so none can take its place while it runs: restart it"
            );
            continue;
        }
        tracing::info!("another process takes the place of this one");
        let (http, quic) = house.sockets()?;
        let taken = async { Successor::start(program, http, quic)?.open().await };
        tokio::select! {
            stopped = &mut stopped => return stopped.map(|()| None),
            taken = taken => match taken {
                Ok(stream) => return Ok(Some(stream)),
                Err(error) => tracing::error!("no other process could take the place of this one, which goes on: {error:#}"),
            }
        }
    }
}

/// Waits for SIGTERM or ctrl-c.
pub async fn until_stopped() -> anyhow::Result<()> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}
