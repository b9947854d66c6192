-- Notices to the owner of what changed how one logs in, and where somebody did.

alter table auth.mails
    drop constraint mails_kind_check,
    add constraint mails_kind_check check (kind in (
        'verify_email', 'registration_attempt', 'reset_password', 'password_changed',
        'confirm_email_change', 'email_changed', 'authenticator_added', 'authenticator_removed',
        'passkey_added', 'passkey_removed', 'second_factors_reset', 'recovery_code_used',
        'recovery_codes_replaced', 'new_device'));
