//! `tintype credits`: gives credits, shows a book, reads every book again. Needs the administrator's token.

use std::process::ExitCode;

use anyhow::{Context, Result};
use reqwest::Method;
use serde_json::{Value, json};

use crate::args::{CreditsArgs, CreditsCommand};
use crate::client::Client;
use crate::paths::{DataDir, read_secret};
use crate::terminal;

/// Thousandths in a credit.
const MILLI: f64 = 1_000.0;

/// Runs the command.
pub(crate) async fn run(args: CreditsArgs) -> Result<ExitCode> {
    let admin = Client::new(&args.connect.url, &admin_token(&args)?)?;
    match &args.command {
        CreditsCommand::Grant { amount, account, reference } => {
            let account = account_of(account.as_deref(), &args).await?;
            let body = json!({ "amountMillis": (amount * MILLI).round() as i64, "reference": reference });
            let made = admin.call(Method::POST, &format!("/api/v1/accounts/{account}/grants"), Some(&body)).await?;
            let how =
                if made["granted"] == true { "given" } else { "this reference was given before; nothing changed" };
            terminal::result(format_args!("{how}: {} credits available", credits(&made["credits"]["availableMillis"])));
            Ok(ExitCode::SUCCESS)
        }
        CreditsCommand::Ledger { account } => {
            show(&admin, &account_of(account.as_deref(), &args).await?).await.map(|()| ExitCode::SUCCESS)
        }
        CreditsCommand::Verify => verify(&admin).await,
    }
}

fn admin_token(args: &CreditsArgs) -> Result<String> {
    if let Some(token) = &args.admin_token {
        return Ok(token.clone());
    }
    let file = DataDir::choose(args.connect.data_dir.as_deref())?.join("admin-token");
    read_secret(&file)?
        .with_context(|| format!("no administrator's token: set TINTYPE_ADMIN_TOKEN ({} is not there)", file.display()))
}

/// The account named, or that of this machine's key.
async fn account_of(named: Option<&str>, args: &CreditsArgs) -> Result<String> {
    if let Some(account) = named {
        return Ok(account.to_owned());
    }
    let me =
        Client::from_args(&args.connect)?.me().await?.context("the API key is not known there; name an --account")?;
    me["account"]["id"].as_str().map(str::to_owned).context("the server did not name the account")
}

async fn show(admin: &Client, account: &str) -> Result<()> {
    let mut after = Value::from(0);
    while !after.is_null() {
        let page = admin.call(Method::GET, &format!("/api/v1/accounts/{account}/ledger?after={after}"), None).await?;
        for txn in page["data"].as_array().into_iter().flatten() {
            let lines = txn["lines"].as_array().into_iter().flatten();
            let lines: Vec<String> = lines
                .map(|line| {
                    format!("{} {}", line["column"].as_str().unwrap_or_default(), credits(&line["amountMillis"]))
                })
                .collect();
            let text = |name: &str| txn[name].as_str().unwrap_or_default();
            terminal::result(format_args!(
                "{:>6}  {:<8} {:<48} {}",
                txn["seq"],
                text("kind"),
                lines.join("  "),
                text("key")
            ));
        }
        after = page["next"].clone();
    }
    Ok(())
}

async fn verify(admin: &Client) -> Result<ExitCode> {
    let (mut books, mut transactions, mut sound, mut path) = (0, 0, true, "/api/v1/ledger/verification".to_owned());
    loop {
        let found = admin.call(Method::GET, &path, None).await?;
        books += found["books"].as_u64().unwrap_or(0);
        transactions += found["transactions"].as_u64().unwrap_or(0);
        for fault in found["faults"].as_array().into_iter().flatten() {
            sound = false;
            let text = |name: &str| fault[name].as_str().unwrap_or_default();
            terminal::result(format_args!("account {}: {}", text("account"), text("fault")));
        }
        let Some(next) = found["next"].as_str() else { break };
        path = format!("/api/v1/ledger/verification?after={next}");
    }
    terminal::result(format_args!(
        "{books} books, {transactions} transactions: {}",
        if sound { "sound" } else { "NOT SOUND" }
    ));
    Ok(if sound { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Milli-credits as people read credits.
fn credits(millis: &Value) -> String {
    format!("{:.3}", millis.as_i64().unwrap_or(0) as f64 / MILLI)
}
