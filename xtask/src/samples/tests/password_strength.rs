//! Cases of `password-strength`.

use serde_json::{Value, json};

use super::{ok, quick, refusal};

fn judge(password: &str) -> Value {
    ok("password-strength", json!({"password": password}))
}

fn guesses(password: &str) -> f64 {
    judge(password)["guesses_log10"].as_f64().unwrap()
}

/// Each pattern as "kind start+length".
fn patterns(password: &str) -> Vec<String> {
    let result = judge(password);
    let patterns = result["patterns"].as_array().unwrap();
    patterns
        .iter()
        .map(|p| format!("{} {}+{}", p["kind"].as_str().unwrap(), p["start"], p["length"]))
        .collect()
}

#[test]
fn the_result_never_repeats_the_password_or_its_context() {
    for password in ["Hunter2!zq", "xkcdxkcd", "1990-Zanzibar", "qwertzuiop", "ÄÖüßé", "\"\\\n"]
    {
        let parameters = json!({"password": password, "context": ["zanzibar"]});
        let result = ok("password-strength", parameters).to_string().to_lowercase();
        assert!(!result.contains(&password.to_lowercase()), "{result}");
        assert!(!result.contains("zanzibar"), "{result}");
    }
    let message = refusal("password-strength", json!({"password": "zanzibar".repeat(40)}));
    assert!(!message.contains("zanzibar"), "{message}");
    let message = refusal("password-strength", json!({"password": "x", "context": ["zq"]}));
    assert!(!message.contains("zq"), "{message}");
}

#[test]
fn common_words_are_seen_through_case_substitution_and_reversal() {
    assert_eq!(patterns("password"), ["common-word 0+8"]);
    assert_eq!(patterns("P@$$w0rd"), ["common-word 0+8"]);
    assert_eq!(patterns("drowssap"), ["common-word 0+8"]);
    assert_eq!(patterns("1OVE1Y"), ["common-word 0+6"]);
    assert!(guesses("password") < guesses("Password"));
    assert!(guesses("Password") < guesses("P4ssword"));
    assert!(guesses("P4ssword") < 2.0);
}

#[test]
fn repetitions_sequences_keyboard_runs_and_years_are_found() {
    assert_eq!(patterns("aaaaaaaaaa"), ["repetition 0+10"]);
    assert_eq!(patterns("xq7xq7xq7"), ["repetition 0+9"]);
    assert_eq!(patterns("abcdefgh"), ["sequence 0+8"]);
    assert_eq!(patterns("98765432"), ["sequence 0+8"]);
    assert_eq!(patterns("αβγδεζ"), ["sequence 0+6"]);
    assert_eq!(patterns("qwertzuiop"), ["keyboard 0+10"]);
    assert_eq!(patterns("LKJHGF"), ["keyboard 0+6"]);
    assert_eq!(patterns("!@#$%^"), ["keyboard 0+6"]);
    assert_eq!(patterns("Xk1987vR"), ["year 2+4"]);
    assert_eq!(patterns("dragon1987qwerty"), ["common-word 0+6", "year 6+4", "keyboard 10+6"]);
}

#[test]
fn a_password_without_patterns_costs_its_characters() {
    let password = "Vk9#tLw2@Qz7";
    assert_eq!(patterns(password), [""; 0]);
    let expected = 12.0 * 95f64.log10();
    assert!((guesses(password) - expected).abs() < 0.01);
    assert_eq!(judge(password)["verdict"], "very strong");
    assert_eq!(judge(password)["advice"], json!([]));
}

#[test]
fn words_of_the_context_are_the_first_that_are_tried() {
    let parameters = json!({"password": "Zanz1bar!", "context": ["Zanzibar"]});
    let result = ok("password-strength", parameters);
    assert_eq!(result["patterns"][0]["kind"], "context-word");
    assert!(result["guesses_log10"].as_f64().unwrap() < guesses("Zanz1bar!"));
}

#[test]
fn length_and_sets_are_counted_in_characters() {
    let result = judge("aB3 é😀");
    assert_eq!(result["length"], 6);
    let sets = json!(["lower-case", "upper-case", "digits", "symbols", "other"]);
    assert_eq!(result["character_sets"], sets);
}

#[test]
fn a_longer_password_of_the_same_kind_never_costs_less() {
    let password = "correcthorsebatterystaple";
    let costs: Vec<f64> = (1..=password.len()).map(|end| guesses(&password[..end])).collect();
    assert!(costs[24] > 8.0, "{costs:?}");
    assert!(guesses("aaaaaaaaaaaaaaaa") < 4.0);
    assert_eq!(judge("aaaa")["time_to_guess"]["offline_10_billion_a_second"], "under 2 seconds");
    let years = &judge("Vk9#tLw2@Qz7Vx")["time_to_guess"]["online_100_an_hour"];
    assert_eq!(years, "over 10,000 years");
}

#[test]
fn the_longest_password_of_anything_is_quick() {
    for part in ["a", "ab", "abc", "1", "qwerty", "password", "aab", "19"] {
        let password: String = part.chars().cycle().take(256).collect();
        quick("password-strength", json!({"password": password})).unwrap();
    }
}
