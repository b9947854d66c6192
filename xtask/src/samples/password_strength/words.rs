//! Words that people choose as passwords or make them of, written down for this project.

/// The most likely first, parted by white space. Lower case, at least three letters, and without
/// the substitutions that [`super::patterns`] undoes.
pub(super) const COMMON: &str = "
    password admin welcome letmein login secret master dragon monkey sunshine princess football
    baseball iloveyou shadow superman batman hello freedom whatever trustno passwort pass user
    test guest root changeme default access system server computer internet windows summer winter
    spring autumn january february march april june july august september october november
    december monday tuesday wednesday thursday friday saturday sunday love lovely lover baby angel
    honey sweet cookie chocolate banana orange apple cherry pepper ginger coffee cheese pizza
    flower rose lily rainbow butterfly star moon sun sky ocean river forest mountain tiger lion
    eagle falcon wolf bear horse dog cat kitten puppy bunny panda dolphin shark phoenix unicorn
    ninja pirate wizard knight king queen prince hero warrior hunter ranger killer gamer player
    soccer hockey tennis golf basketball music guitar piano dancer singer movie matrix hacker
    cyber crypto bitcoin money dollar gold silver diamond lucky happy smile friend family mother
    father brother sister michael jennifer jessica ashley daniel thomas robert andrew joshua
    matthew charlie jordan maggie nicole michelle amanda anthony george london paris berlin
    america mexico canada russia china india black white green blue red yellow purple pink fire
    water earth thunder lightning storm snow rain house home school college office company manager
    service support account private public mobile phone email online network security correct
    battery staple car truck ferrari porsche mercedes toyota yankees cowboys steelers liverpool
    arsenal chelsea barcelona madrid jesus christ heaven blessed god devil demon hell death life
    live forever always never please thank good best cool great super power magic dream hope peace
";
