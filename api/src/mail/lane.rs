//! The lane that sends letters: finds out to whom and what, draws the tokens, hands the mail over.

use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use tintype_types::Timestamp;
use tokio::time::timeout;
use uuid::Uuid;

use super::compose::{self, Receipt, Words};
use super::letter::Letter;
use super::sender::{Mail, Sender};
use crate::clock;
use crate::database::Db;
use crate::identity::args::Signup;
use crate::identity::email::Email;
use crate::identity::link::{Purpose, invitation_url};
use crate::identity::role::Role;
use crate::identity::token::Token;
use crate::lanes::{Errand, Failed, Lane, Rules};
use crate::payments::Payments;
use crate::records::link::{self, NewLink};
use crate::records::{account, digest, notice, org, person};

/// Longest one try may take.
const LEASE: Duration = Duration::from_mins(1);
/// Longest a receipt waits for the address of the provider's own.
const RECEIPT_TIMEOUT: Duration = Duration::from_secs(5);
/// Letters handed over at a time.
const AT_A_TIME: usize = 4;
/// The pauses between tries: an hour of a mail server's trouble is waited out, a day is not.
const PAUSES: &[Duration] = &[
    Duration::from_secs(5),
    Duration::from_secs(30),
    Duration::from_mins(2),
    Duration::from_mins(10),
    Duration::from_mins(30),
    Duration::from_hours(1),
];

/// Sends letters.
pub(crate) struct MailLane {
    /// Where persons are looked up and links kept.
    pub(crate) pool: Db,
    /// Who carries them.
    pub(crate) sender: Sender,
    /// Where browsers find us.
    pub(crate) site: String,
    /// Whether a newcomer's link makes an account.
    pub(crate) signup: Signup,
    /// Who knows where receipts are, where anything is sold.
    pub(crate) payments: Option<Payments>,
}

impl Lane for MailLane {
    fn name(&self) -> &'static str {
        super::LANE
    }

    fn rules(&self) -> Rules {
        Rules { lease: LEASE, at_a_time: AT_A_TIME, pauses: PAUSES, every: None }
    }

    fn run<'a>(&'a self, errand: &'a Errand) -> BoxFuture<'a, Result<(), Failed>> {
        self.deliver(errand).boxed()
    }
}

impl MailLane {
    async fn deliver(&self, errand: &Errand) -> Result<(), Failed> {
        let letter: Letter = serde_json::from_value(errand.payload.clone())
            .map_err(|_| Failed::never("the letter is of a kind that this version does not know"))?;
        // Nobody to write to is no failure: whoever asked was not told either.
        let Some((to, words)) = self.words(errand.id, &letter).await? else { return Ok(()) };
        let Words { subject, text } = words;
        self.sender.send(Mail { id: errand.id, to, subject, text }).await
    }

    async fn words(&self, id: Uuid, letter: &Letter) -> Result<Option<(String, Words)>, Failed> {
        match letter {
            Letter::SignIn { email } => self.with_link(id, Purpose::SignIn, email).await,
            Letter::Reset { email } => self.with_link(id, Purpose::Reset, email).await,
            Letter::Verify { person } => {
                let found = person::find_optional(&self.pool, *person).await?;
                match found.filter(|person| person.email_verified_ms.is_none()).and_then(|person| person.email) {
                    Some(email) => self.with_link(id, Purpose::Verify, &email).await,
                    None => Ok(None),
                }
            }
            Letter::Invitation { invitation } => self.invitation(*invitation).await,
            Letter::ImagesReady { account, since_ms } => {
                let images = notice::images_since(&self.pool, *account, *since_ms).await?;
                let to = self.owner(*account).await?.filter(|_| images > 0);
                Ok(to.map(|to| (to, compose::images_ready(images, self.site.trim_end_matches('/')))))
            }
            Letter::Digest { account, since_ms } => {
                let figures = digest::figures(&self.pool, *account, clock::from_ms(*since_ms)).await?;
                // Of a week in which nothing came about there is nothing to tell.
                let Some(figures) = figures.filter(|week| week.images > 0 || week.spent > 0) else { return Ok(None) };
                let words = compose::digest(&figures, self.site.trim_end_matches('/'));
                Ok(self.sure_owner(*account).await?.map(|to| (to, words)))
            }
            Letter::BudgetSpent { account, limit_millis } => {
                let words = compose::budget_spent(*limit_millis, self.site.trim_end_matches('/'));
                Ok(self.sure_owner(*account).await?.map(|to| (to, words)))
            }
            Letter::RunsLow { account, limit_millis, left_millis } => {
                let words = compose::runs_low(*limit_millis, *left_millis, self.site.trim_end_matches('/'));
                Ok(self.sure_owner(*account).await?.map(|to| (to, words)))
            }
            Letter::Receipt { account, reference, credits_millis, amount_minor, currency, paid_ms, intent, page } => {
                let Some(to) = self.payer(*account).await? else { return Ok(None) };
                let page = match (page, intent) {
                    (None, Some(intent)) => self.receipt_page(intent).await,
                    (Some(_), _) | (None, None) => page.clone(),
                };
                let receipt = Receipt {
                    reference,
                    credits_millis: *credits_millis,
                    amount_minor: *amount_minor,
                    currency,
                    paid: paid_ms.map(Timestamp),
                    page: page.as_deref(),
                };
                Ok(Some((to, compose::receipt(&receipt))))
            }
        }
    }

    /// Draws the token of an invitation; a second try sends a new one in place of the first.
    async fn invitation(&self, id: Uuid) -> Result<Option<(String, Words)>, Failed> {
        let Some(invitation) = org::invitation(&self.pool, id, clock::now()).await? else { return Ok(None) };
        let name = account::find(&mut *self.pool.reader().await?, invitation.account).await?.name;
        let token = Token::draw(&mut rand::rng());
        org::arm(&self.pool, id, &token.sha256()).await?;
        Ok(Some((invitation.email, compose::invitation(&name, &invitation_url(&self.site, &token)))))
    }

    /// The address of the person whose account this is.
    async fn owner(&self, account: Uuid) -> Result<Option<String>, Failed> {
        Ok(person::find_by_account(&self.pool, account).await?.and_then(|person| person.email))
    }

    /// The address of whoever pays for an account, where it was shown to be theirs: its person, suspended or not, or of an
    /// organisation the first of its owners.
    async fn payer(&self, account: Uuid) -> Result<Option<String>, Failed> {
        let mut person = person::find_by_account(&self.pool, account).await?;
        if person.is_none() {
            let owner = org::members(&self.pool, account).await?.into_iter().find(|one| one.role() == Role::Owner);
            if let Some(owner) = owner {
                person = person::find_optional(&self.pool, owner.person).await?;
            }
        }
        Ok(person.filter(|person| person.email_verified_ms.is_some()).and_then(|person| person.email))
    }

    /// The provider's page with the receipt of a payment, if it says so soon. A letter without it is a receipt too.
    async fn receipt_page(&self, intent: &str) -> Option<String> {
        let payments = self.payments.as_ref()?;
        timeout(RECEIPT_TIMEOUT, payments.stripe.receipt_page(intent)).await.ok()?.ok()?
    }

    /// The same where it was shown to be theirs: nobody has letters sent to somebody else's.
    async fn sure_owner(&self, account: Uuid) -> Result<Option<String>, Failed> {
        let found = person::find_by_account(&self.pool, account).await?;
        let sure = found.filter(|person| person.email_verified_ms.is_some() && person.suspended_ms.is_none());
        Ok(sure.and_then(|person| person.email))
    }

    /// Draws a token and keeps its hash, under the errand's id: a second try sends a new token in place of the first.
    async fn with_link(&self, id: Uuid, purpose: Purpose, email: &str) -> Result<Option<(String, Words)>, Failed> {
        let Some(email) = Email::parse(email) else { return Err(Failed::never("this is no address")) };
        let found = person::find_by_email(&self.pool, &email).await?;
        let welcome = match (purpose, &found) {
            (_, Some(person)) => person.suspended_ms.is_none(),
            (Purpose::SignIn, None) => self.signup != Signup::Closed,
            (Purpose::Verify | Purpose::Reset, None) => false,
        };
        if !welcome {
            return Ok(None);
        }
        let token = Token::draw(&mut rand::rng());
        let at = clock::now();
        let person = found.map(|person| person.id);
        let mut tx = self.pool.begin().await?;
        link::keep(&mut tx, &NewLink { id, purpose, email: &email, person, token_sha256: token.sha256() }, at).await?;
        tx.commit().await?;
        Ok(Some((email.text().to_owned(), compose::with_link(purpose, &purpose.url(&self.site, &token)))))
    }
}
