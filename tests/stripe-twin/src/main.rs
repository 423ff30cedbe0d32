//! Runs the stand-in as a program of its own.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context;
use clap::Parser;
use tintype_stripe_twin::{Options, Twin, router};
use tokio::net::TcpListener;

/// A stand-in for Stripe: no money moves.
#[derive(Debug, Parser)]
#[command(name = "stripe-twin", version, about)]
struct Args {
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1:12111")]
    listen: SocketAddr,
    /// Write the address listened on to this file once requests are served.
    #[arg(long)]
    port_file: Option<PathBuf>,
    /// Where webhooks go; may be set later at /twin/webhook.
    #[arg(long)]
    webhook_url: Option<String>,
    /// What they are signed with.
    #[arg(long, default_value = "whsec_twin")]
    webhook_secret: String,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let Args { listen, port_file, webhook_url, webhook_secret } = Args::parse();
    // An error means that one is there already, which is as good.
    drop(rustls::crypto::ring::default_provider().install_default());
    let listener = TcpListener::bind(listen).await.with_context(|| format!("cannot listen on {listen}"))?;
    let address = listener.local_addr().context("cannot tell the address listened on")?;
    let twin = Twin::new(Options { url: format!("http://{address}"), webhook_url, webhook_secret });
    if let Some(file) = port_file {
        let scratch = file.with_extension("new");
        std::fs::write(&scratch, format!("{address}\n")).and_then(|()| std::fs::rename(&scratch, &file))?;
    }
    let stopped = async { drop(tokio::signal::ctrl_c().await) };
    axum::serve(listener, router(&twin)).with_graceful_shutdown(stopped).await.context("the server broke")
}
