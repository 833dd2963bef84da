//! `wayfare serve`, and single roles.

use axum::Router;
use tokio::signal::unix::{SignalKind, signal};
use wayfare::{Config, House, Recorder, Roles};

/// Runs the house until SIGTERM or ctrl-c, then drains it.
pub async fn run(config: Config, roles: Roles) -> anyhow::Result<()> {
    let (house, first_key) = House::start_as(roles, &config, Recorder::install()?, Router::new()).await?;
    if let Some(key) = first_key {
        println!("The first service key, shown once. It opens everything: keep it like a password.\n\n{}\n", key.0);
    }
    if let Some(quic) = house.quic() {
        println!("Drivers on QUIC: {}, certificate SHA-256 {}", quic.address, quic.fingerprint);
    }
    println!("Wayfare listens on {}", house.url());
    until_stopped().await?;
    house.drain().await;
    Ok(())
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
