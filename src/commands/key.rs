//! `wayfare key`.

use wayfare::Config;

/// Makes a service key straight from the records.
pub async fn run(config: Config) -> anyhow::Result<()> {
    let key = wayfare_api::issue_service_key(&config.api()).await?;
    println!("{}", key.0);
    Ok(())
}
