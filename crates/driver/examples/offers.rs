//! Takes every delivery that is offered, says that it is picked up by hand, and prints what is heard. Ends with ctrl-c.
//!
//! ```text
//! WAYFARE_TOKEN=<driver token> cargo run -p wayfare-driver --example offers -- http://127.0.0.1:8080 [proto|json]
//! ```

use wayfare_driver::{DriveCodec, Driver, DriverConfig, Event};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = std::env::args().nth(1);
    let url = url.unwrap_or_else(|| "http://127.0.0.1:8080".into());
    let codec = match std::env::args().nth(2).as_deref() {
        Some("json") => DriveCodec::Json,
        _ => DriveCodec::Proto,
    };
    let token = std::env::var("WAYFARE_TOKEN")?;
    let (driver, mut events) = Driver::connect(DriverConfig { codec, ..DriverConfig::new(url, token) })?;
    while let Some(event) = events.recv().await {
        println!("{event:?}");
        match event {
            // An app would ask its driver.
            Event::Delivery(delivery) => match delivery.offer {
                Some(offer) => drop(driver.accept(delivery.trip, offer)),
                None => drop(driver.status(delivery.trip, "to_dropoff")),
            },
            Event::Stopped { .. } => break,
            _ => {}
        }
    }
    driver.close().await;
    Ok(())
}
