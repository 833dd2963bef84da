//! Sends ten fixes, one a second, and prints what becomes of them.
//!
//! ```text
//! WAYFARE_TOKEN=<driver token> cargo run -p wayfare-driver --example send -- http://127.0.0.1:8080 [proto|json]
//! ```

use std::time::Duration;

use wayfare_driver::{DriveCodec, Driver, DriverConfig, Fix, Phone};

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
    let printer = tokio::spawn(async move {
        while let Some(event) = events.recv().await {
            println!("{event:?}");
        }
    });
    // In an app: when the system says that it changed.
    driver.phone(Phone { battery: Some(0.8), charging: Some(false), ..Phone::default() });
    for second in 0..10 {
        driver.send(Fix {
            lat: 41.15 + f64::from(second) * 1e-4,
            lon: -8.61,
            accuracy_m: Some(5.0),
            ..Fix::default()
        })?;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    // Whoever waits for the courier hears why nothing more comes.
    driver.phone(Phone { outage: Some("stopped".into()), ..Phone::default() });
    driver.flush().await?;
    driver.close().await;
    printer.await?;
    Ok(())
}
