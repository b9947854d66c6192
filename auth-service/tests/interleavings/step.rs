//! What can happen to the credentials of a few accounts, and sequences of it that look random.

use ihuman_shared::access::Role;

/// One thing that happens. The numbers choose among what there is when it happens; so
/// a step stays meaningful when others are taken out of its sequence.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    Login {
        user: usize,
    },
    LoginWithOldPassword {
        user: usize,
    },
    Refresh {
        token: usize,
        request: RequestId,
    },
    /// The same token twice at the same time, at two replicas.
    RefreshTwice {
        token: usize,
        same_request: bool,
    },
    /// Refreshing at one replica while something ends the token at another.
    RefreshDuring {
        token: usize,
        rival: Rival,
    },
    Logout {
        session: usize,
    },
    RevokeOthers {
        session: usize,
    },
    ChangePassword {
        session: usize,
    },
    SetRole {
        user: usize,
        role: Role,
    },
    Deactivate {
        user: usize,
    },
    Reactivate {
        user: usize,
    },
    CreateKey {
        session: usize,
        scopes: usize,
    },
    RotateKey {
        key: usize,
        overlap_s: i64,
    },
    RevokeKey {
        key: usize,
    },
    RotateSigningKey,
    /// What the service does by itself now and then.
    Maintain,
    Wait {
        seconds: i64,
    },
}

/// The `request_id` of a refresh.
#[derive(Clone, Copy, Debug)]
pub(super) enum RequestId {
    None,
    New,
    /// That of the token's first use, as after a lost answer.
    Same,
}

/// What ends a refresh token, or the rights that it was issued under.
#[derive(Clone, Copy, Debug)]
pub(super) enum Rival {
    Logout,
    RevokeOthers,
    ChangePassword,
    Deactivate,
    SetRole(Role),
}

const MINUTE: i64 = 60;
const DAY: i64 = 24 * 60 * MINUTE;
/// Within and beyond the time of a retry, the lifetime of an access token, that of a
/// refresh token, and that of a session.
const WAITS: [i64; 9] = [12, 12, 12, 45, 45, 20 * MINUTE, 61 * MINUTE, 3 * DAY, 8 * DAY];
const OVERLAPS: [i64; 3] = [0, 10 * MINUTE, DAY];
const ROLES: [Role; 5] =
    [Role::Developer, Role::Developer, Role::Admin, Role::Viewer, Role::Executor];

/// Numbers that look random and are the same for the same seed (SplitMix64).
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((bits ^ (bits >> 31)) >> 11) as usize % limit
    }

    fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }
}

/// The sequence of a seed. It begins with what the rest can happen to.
pub(super) fn sequence(seed: u64, length: usize) -> Vec<Step> {
    let mut random = Random(seed);
    let mut steps = vec![
        Step::SetRole { user: 0, role: Role::Developer },
        Step::Login { user: 0 },
        Step::Login { user: 0 },
        Step::CreateKey { session: 0, scopes: random.below(9) },
        Step::Login { user: 1 },
    ];
    steps.extend((0..length).map(|_| any(&mut random)));
    steps
}

fn any(random: &mut Random) -> Step {
    let (kind, number) = (random.below(50), random.below(1000));
    match kind {
        0..=6 => Step::Login { user: number },
        7 => Step::LoginWithOldPassword { user: number },
        8..=13 => {
            let request = random.of(&[RequestId::None, RequestId::New, RequestId::New]);
            Step::Refresh { token: number, request }
        }
        14..=17 => Step::Refresh { token: number, request: RequestId::Same },
        18 => Step::RefreshTwice { token: number, same_request: true },
        19 => Step::RefreshTwice { token: number, same_request: false },
        20..=23 => Step::RefreshDuring { token: number, rival: rival(random) },
        24 => Step::Logout { session: number },
        25 => Step::RevokeOthers { session: number },
        26 => Step::ChangePassword { session: number },
        27 | 28 => Step::SetRole { user: number, role: random.of(&ROLES) },
        29 => Step::Deactivate { user: number },
        30..=33 => Step::Reactivate { user: number },
        34..=37 => Step::CreateKey { session: number, scopes: random.below(9) },
        38..=40 => Step::RotateKey { key: number, overlap_s: random.of(&OVERLAPS) },
        41 => Step::RevokeKey { key: number },
        42 => Step::RotateSigningKey,
        43 => Step::Maintain,
        _ => Step::Wait { seconds: random.of(&WAITS) },
    }
}

fn rival(random: &mut Random) -> Rival {
    let role = random.of(&ROLES);
    random.of(&[
        Rival::Logout,
        Rival::RevokeOthers,
        Rival::ChangePassword,
        Rival::Deactivate,
        Rival::SetRole(role),
        Rival::SetRole(role),
    ])
}
