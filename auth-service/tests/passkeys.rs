//! Registering passkeys, and what their owner does with them.

use std::time::Duration;

use chrono::TimeDelta;
use ihuman_proto::{auth::v1 as pb, error::v1::ErrorReason as Reason};
use ihuman_shared::testing::{Caller, TestDatabase, reason, violations};
use serde_json::json;
use tokio::{process::Command, time::timeout};
use tonic::Status;
use uuid::Uuid;

use crate::{
    device::{Device, bytes, integer, map, text},
    support::{Auth, EMAIL, bearer, named},
};

impl Auth {
    async fn list_passkeys(&self, caller: &Caller) -> Vec<pb::Passkey> {
        let request = pb::ListPasskeysRequest::default();
        self.passkeys(caller).list_passkeys(request).await.unwrap().into_inner().passkeys
    }

    async fn rename(
        &self,
        caller: &Caller,
        passkey: &pb::Passkey,
        name: &str,
        mask: &str,
    ) -> Result<pb::Passkey, Status> {
        let passkey = pb::Passkey { name: name.to_owned(), ..passkey.clone() };
        let update_mask = Some(prost_types::FieldMask { paths: vec![mask.to_owned()] });
        let request = pb::UpdatePasskeyRequest { passkey: Some(passkey), update_mask };
        let response = self.passkeys(caller).update_passkey(named("rename-1", request)).await?;
        Ok(response.into_inner().passkey.unwrap())
    }
}

const COUNT: &str = "select count(*) from auth.passkeys";

#[tokio::test]
async fn a_passkey_of_each_algorithm_is_registered_as_it_is() {
    let auth = Auth::start().await;
    for (number, mut device) in
        [Device::p256(), Device::ed25519(), Device::rsa()].into_iter().enumerate()
    {
        let (user, tokens) = auth.person(&format!("ann{number}@example.com")).await;
        let caller = bearer(&user, &tokens);
        (device.backup_eligible, device.backed_up) = (true, true);

        let passkey = auth.register_passkey(&caller, &mut device).await.unwrap();

        assert_eq!(passkey.name, "My phone");
        assert_eq!(passkey.transports, ["internal", "hybrid"]);
        assert!(passkey.backed_up && passkey.user_verifying);
        assert!(passkey.create_time.is_some() && passkey.last_use_time.is_none());
        assert_eq!(auth.list_passkeys(&caller).await, std::slice::from_ref(&passkey));
        let record = auth.audit("passkey.create").await.pop().unwrap();
        record.is_by(&caller);
        assert_eq!(record.entity, ("passkey".to_owned(), passkey.id.clone()));
        assert_eq!(record.new_values.unwrap()["name"], json!("My phone"));
    }
}

#[tokio::test]
async fn options_name_the_account_and_the_passkeys_that_it_has() {
    let auth = Auth::start().await;
    let (user, tokens) = auth.person(EMAIL).await;
    let caller = bearer(&user, &tokens);

    let first = auth.creation_options(&caller).await;
    let second = auth.creation_options(&caller).await;

    let rp = pb::PasskeyRelyingParty { id: "localhost".to_owned(), name: "ihuman".to_owned() };
    assert_eq!(first.rp, Some(rp));
    let named = first.user.clone().unwrap();
    assert_eq!(named.id, Uuid::parse_str(&user.id).unwrap().as_bytes());
    assert_eq!((named.name.as_str(), named.display_name.as_str()), (EMAIL, "Ann"));
    assert_eq!(first.algorithms, [-7, -8, -257]);
    assert_eq!(first.timeout.unwrap().seconds, 300);
    assert_eq!(first.attestation(), pb::PasskeyAttestationConveyance::None);
    let selection = first.authenticator_selection.unwrap();
    assert_eq!(selection.resident_key(), pb::PasskeyResidentKey::Preferred);
    assert_eq!(selection.user_verification(), pb::PasskeyUserVerification::Preferred);
    assert!(first.exclude_credentials.is_empty());
    assert!(first.challenge.len() >= 16 && first.challenge != second.challenge);
    let mut device = Device::p256();
    let attestation = device.create(&second);
    auth.finish_registration(&caller, attestation, "").await.unwrap();
    let caller = auth.step_up(&caller, &mut device).await;
    let excluded = auth.creation_options(&caller).await.exclude_credentials;
    assert_eq!(excluded.len(), 1);
    assert_eq!(excluded[0].id, device.credential_id);
    assert_eq!(excluded[0].transports, ["internal", "hybrid"]);
}

#[tokio::test]
async fn a_device_that_misbehaves_registers_nothing() {
    let auth = Auth::start().await;
    let (user, tokens) = auth.person(EMAIL).await;
    let caller = bearer(&user, &tokens);
    type Fault = (&'static str, fn(&mut Device));
    let faults: [Fault; 10] = [
        ("an origin that is not among", |it| it.origin = "https://localhost.evil.com".to_owned()),
        ("an origin that is not among", |it| it.origin = "null".to_owned()),
        ("in a frame of another site", |it| it.more = json!({"crossOrigin": true})),
        ("in a frame of another site", |it| it.more = json!({"topOrigin": "https://evil.com"})),
        ("for something else", |it| it.more = json!({"type": "webauthn.get"})),
        ("no challenge of this service", |it| it.more = json!({"challenge": "AAAA"})),
        ("for another relying party", |it| it.rp_id = "evil.com".to_owned()),
        ("without anybody being there", |it| it.user_present = false),
        ("copied that can't be", |it| it.backed_up = true),
        ("is not CBOR", |it| it.extensions = Some(vec![0xff])),
    ];

    for (problem, misbehave) in faults {
        let mut device = Device::p256();
        misbehave(&mut device);
        let refused = auth.register_passkey(&caller, &mut device).await.unwrap_err();
        assert_eq!(violations(&refused), ["attestation"], "{problem}");
        assert!(refused.message().contains(problem), "{problem}: {refused}");
    }
    for length in [15, 1024] {
        let mut device = Device::p256();
        device.credential_id = vec![7; length];
        let refused = auth.register_passkey(&caller, &mut device).await.unwrap_err();
        assert_eq!(reason(&refused), Reason::InvalidField);
    }
    assert_eq!(auth.scalar::<i64>(COUNT).await, 0);
    assert!(auth.audit("passkey.create").await.is_empty());
}

#[tokio::test]
async fn extensions_that_nobody_asked_for_and_a_self_attestation_are_fine() {
    let auth = Auth::start().await;
    let (user, tokens) = auth.person(EMAIL).await;
    let caller = bearer(&user, &tokens);
    let mut extended = Device::ed25519();
    extended.extensions = Some(map(&[(text("credProtect"), integer(2))]));
    let mut attesting = Device::p256();
    attesting.attests = true;

    auth.register_passkey(&caller, &mut extended).await.unwrap();
    let caller = auth.step_up(&caller, &mut extended).await;
    auth.register_passkey(&caller, &mut attesting).await.unwrap();

    let mut forged = Device::p256();
    forged.attests = true;
    let mut attestation = forged.create(&auth.creation_options(&caller).await);
    // Still well-formed, and no longer what was signed.
    let json = String::from_utf8(attestation.client_data_json).unwrap();
    attestation.client_data_json = json.replace("5173", "5174").into_bytes();
    let refused = auth.finish_registration(&caller, attestation, "").await.unwrap_err();
    assert_eq!(violations(&refused), ["attestation"]);
}

#[tokio::test]
async fn an_attestation_object_that_is_not_exactly_one_is_refused() {
    let auth = Auth::start().await;
    let (user, tokens) = auth.person(EMAIL).await;
    let caller = bearer(&user, &tokens);
    let options = auth.creation_options(&caller).await;
    let good = Device::p256().create(&options);
    let object = |format: &str, statement: Vec<u8>, data: &[u8]| {
        let entries = [
            (text("fmt"), text(format)),
            (text("attStmt"), statement),
            (text("authData"), bytes(data)),
        ];
        map(&entries)
    };
    // What follows the head of the last entry.
    let data = good.attestation_object.split_at(good.attestation_object.len() - 164).1;
    let empty = || map(&[]);
    assert_eq!(object("none", empty(), data), good.attestation_object);
    let twice = [&[0xa4][..], &good.attestation_object[1..], &text("fmt"), &text("none")].concat();
    let deep = [vec![0x81; 100], vec![0]].concat();
    let huge = vec![0x5b, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
    let objects = [
        object("fido-u2f", empty(), data),
        object("none", map(&[(text("sig"), bytes(b"x"))]), data),
        object("packed", empty(), data),
        object("none", empty(), &data[..163]),
        object("none", empty(), &[data, &[0]].concat()),
        object("none", empty(), b""),
        map(&[(text("fmt"), text("none"))]),
        [&good.attestation_object[..], &[0]].concat(),
        twice,
        deep,
        huge,
        vec![0xff],
        vec![0xa1],
    ];

    for (number, attestation_object) in objects.into_iter().enumerate() {
        let attestation = pb::PasskeyAttestation { attestation_object, ..good.clone() };
        let refused = auth.finish_registration(&caller, attestation, "").await.unwrap_err();
        assert_eq!(violations(&refused), ["attestation"], "{number}");
    }
    for length in 0..good.attestation_object.len() {
        let attestation_object = good.attestation_object[..length].to_vec();
        let attestation = pb::PasskeyAttestation { attestation_object, ..good.clone() };
        let refused = auth.finish_registration(&caller, attestation, "").await.unwrap_err();
        assert_eq!(reason(&refused), Reason::InvalidField, "{length}");
    }
    auth.finish_registration(&caller, good, "").await.unwrap();
}

#[tokio::test]
async fn every_part_of_an_answer_has_a_limit() {
    let auth = Auth::start().await;
    let (user, tokens) = auth.person(EMAIL).await;
    let caller = bearer(&user, &tokens);
    let good = Device::p256().create(&auth.creation_options(&caller).await);
    let with = |change: fn(&mut pb::PasskeyAttestation)| {
        let mut attestation = good.clone();
        change(&mut attestation);
        attestation
    };

    for (field, attestation) in [
        ("credential_id", with(|it| it.credential_id.clear())),
        ("credential_id", with(|it| it.credential_id = vec![0; 1024])),
        ("client_data_json", with(|it| it.client_data_json.clear())),
        ("client_data_json", with(|it| it.client_data_json = vec![b' '; 4097])),
        ("attestation_object", with(|it| it.attestation_object = vec![0; 8193])),
        ("transports", with(|it| it.transports = vec!["usb".to_owned(); 9])),
        ("transports", with(|it| it.transports = vec!["a".repeat(33)])),
        ("transports", with(|it| it.transports = vec!["<script>".to_owned()])),
    ] {
        let refused = auth.finish_registration(&caller, attestation, "").await.unwrap_err();
        assert_eq!(violations(&refused), [format!("attestation.{field}")]);
    }
    let twice = with(|it| it.transports = vec!["usb".to_owned(), "usb".to_owned()]);
    let made = auth.finish_registration(&caller, twice, "").await.unwrap();
    assert_eq!(made.passkey.unwrap().transports, ["usb"]);
}

#[tokio::test]
async fn a_challenge_registers_one_passkey_of_its_session_within_five_minutes() {
    let auth = Auth::start().await;
    let (user, tokens) = auth.person(EMAIL).await;
    let caller = bearer(&user, &tokens);
    let elsewhere = bearer(&user, &auth.login(EMAIL).await);
    let (mallory, tokens) = auth.person("mallory@example.com").await;
    let mallory = bearer(&mallory, &tokens);
    let options = auth.creation_options(&caller).await;
    let mut device = Device::p256();
    let attestation = device.create(&options);

    for other in [&elsewhere, &mallory] {
        let refused = auth.finish_registration(other, attestation.clone(), "").await;
        assert_eq!(violations(&refused.unwrap_err()), ["attestation"]);
    }
    auth.finish_registration(&caller, attestation, "").await.unwrap();
    let caller = auth.step_up(&caller, &mut device).await;
    let again = Device::p256().create(&options);
    let refused = auth.finish_registration(&caller, again, "").await.unwrap_err();
    assert!(refused.message().contains("answered before"), "{refused}");
    let mut late = Device::p256();
    let attestation = late.create(&auth.creation_options(&mallory).await);
    auth.service.clock.advance(TimeDelta::minutes(5));
    let refused = auth.finish_registration(&mallory, attestation, "").await.unwrap_err();
    assert!(refused.message().contains("expired"), "{refused}");
}

#[tokio::test]
async fn a_credential_that_anybody_has_registered_is_refused() {
    let auth = Auth::start().await;
    let (user, tokens) = auth.person(EMAIL).await;
    let (bob, bobs_tokens) = auth.person("bob@example.com").await;
    let mut device = Device::p256();
    auth.register_passkey(&bearer(&user, &tokens), &mut device).await.unwrap();

    let refused = auth.register_passkey(&bearer(&bob, &bobs_tokens), &mut device).await;

    assert_eq!(reason(&refused.unwrap_err()), Reason::AlreadyExists);
}

#[tokio::test]
async fn an_account_has_at_most_twenty_even_when_two_come_at_the_same_time() {
    let auth = Auth::start().await;
    let (user, tokens) = auth.person(EMAIL).await;
    let caller = bearer(&user, &tokens);
    let mut device = Device::ed25519();
    auth.register_passkey(&caller, &mut device).await.unwrap();
    let caller = auth.step_up(&caller, &mut device).await;
    let (mut one, mut two) = (Device::ed25519(), Device::ed25519());
    let one = one.create(&auth.creation_options(&caller).await);
    let two = two.create(&auth.creation_options(&caller).await);
    let surplus = Device::ed25519().create(&auth.creation_options(&caller).await);
    auth.execute(EIGHTEEN_MORE, caller.user_id).await;

    let (one, two) = tokio::join!(
        auth.finish_registration(&caller, one, ""),
        auth.finish_registration(&caller, two, ""),
    );

    assert_eq!([&one, &two].iter().filter(|it| it.is_ok()).count(), 1);
    let refused = one.err().or(two.err()).unwrap();
    assert_eq!(reason(&refused), Reason::QuotaExceeded);
    let refused = auth.finish_registration(&caller, surplus, "").await.unwrap_err();
    assert_eq!(reason(&refused), Reason::QuotaExceeded);
    let begun = pb::BeginPasskeyRegistrationRequest {};
    let refused = auth.passkeys(&caller).begin_passkey_registration(begun).await.unwrap_err();
    assert_eq!(reason(&refused), Reason::QuotaExceeded);
    assert_eq!(auth.scalar::<i64>(COUNT).await, 20);
}

const EIGHTEEN_MORE: &str = "insert into auth.passkeys (passkey_id, user_id, credential_id,
         public_key, sign_count, name, transports, user_verifying, backup_eligible, backed_up)
     select gen_random_uuid(), user_id, sha256(n::text::bytea), public_key, 0, 'Another', '{}',
         false, false, false
     from auth.passkeys, generate_series(1, 18) n where user_id = $1";

#[tokio::test]
async fn a_passkey_is_renamed_and_removed_by_its_owner_only() {
    let auth = Auth::start().await;
    let (user, tokens) = auth.person(EMAIL).await;
    let (bob, bobs_tokens) = auth.person("bob@example.com").await;
    let (caller, bob) = (bearer(&user, &tokens), bearer(&bob, &bobs_tokens));
    let passkey = auth.register_passkey(&caller, &mut Device::p256()).await.unwrap();

    let hidden = auth.rename(&bob, &passkey, "Mine", "name").await.unwrap_err();
    assert_eq!(reason(&hidden), Reason::NotFound);
    let hidden = auth.delete_passkey(&bob, &passkey.id).await.unwrap_err();
    assert_eq!(reason(&hidden), Reason::NotFound);
    assert!(auth.list_passkeys(&bob).await.is_empty());
    for (name, mask, field) in [
        ("", "name", "passkey.name"),
        (&"a".repeat(101), "*", "passkey.name"),
        ("two\nlines", "name", "passkey.name"),
        ("Ann's", "transports", "update_mask"),
        ("Ann's", "", "update_mask"),
    ] {
        let refused = auth.rename(&caller, &passkey, name, mask).await.unwrap_err();
        assert_eq!(violations(&refused), [field]);
    }
    let renamed = auth.rename(&caller, &passkey, "Ann's phone", "*").await.unwrap();

    assert_eq!(renamed, pb::Passkey { name: "Ann's phone".to_owned(), ..passkey.clone() });
    assert_eq!(auth.list_passkeys(&caller).await, [renamed]);
    let record = auth.audited("passkey.update").await;
    record.is_by(&caller);
    assert_eq!(record.old_values, Some(json!({"name": "My phone"})));
    assert_eq!(record.new_values, Some(json!({"name": "Ann's phone"})));
}

#[tokio::test]
async fn passkeys_are_listed_page_by_page_newest_first() {
    let auth = Auth::start().await;
    let (user, tokens) = auth.person(EMAIL).await;
    let caller = bearer(&user, &tokens);
    auth.register_passkey(&caller, &mut Device::p256()).await.unwrap();
    auth.execute(EIGHTEEN_MORE, caller.user_id).await;

    let (mut page_token, mut ids) = (String::new(), Vec::new());
    loop {
        let request = pb::ListPasskeysRequest { page_size: 8, page_token };
        let page = auth.passkeys(&caller).list_passkeys(request).await.unwrap().into_inner();
        assert!(page.passkeys.len() <= 8);
        ids.extend(page.passkeys.into_iter().map(|it| it.id));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }

    assert_eq!(ids.len(), 19);
    assert!(ids.is_sorted_by(|a, b| a > b));
}

#[tokio::test]
async fn the_program_does_not_start_where_no_passkey_could_work() {
    let database = TestDatabase::create().await;
    for (rp_id, origins) in [
        ("https://example.com", ""),
        ("192.0.2.7", ""),
        ("example.com", "http://example.com"),
        ("example.com", "https://example.com,https://evil.com"),
    ] {
        let mut program = Command::new(env!("CARGO_BIN_EXE_auth-service"));
        program.envs(database.environment("ihuman_auth")).kill_on_drop(true);
        program.envs([("WEBAUTHN_RP_ID", rp_id), ("WEBAUTHN_ORIGINS", origins)]);
        let output = timeout(Duration::from_secs(60), program.output()).await.unwrap().unwrap();

        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(64), "{text}");
        assert_eq!((text.lines().count(), text.contains("WEBAUTHN_")), (1, true), "{text}");
    }
}
