package triggers

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// A row for each line of the failure flow (spec/aws.md §1.5) and of what goes beyond it.
func TestDecide(t *testing.T) {
	p := policy{Failure: backoff{time.Second, 30 * time.Second}, Refusal: backoff{100 * time.Millisecond, 5 * time.Second}}
	limited, bisect, isolate := p, p, p
	limited.MaxAttempts = 3
	bisect.MaxAttempts, bisect.Bisect = 3, true
	isolate.MaxAttempts, isolate.Isolate = 3, true
	both := isolate
	both.Bisect = true
	once := policy{MaxAttempts: 1}
	const n = 10
	batch := facts{Records: n}
	single := facts{Records: 1}
	all, first, some := outcome{replied, n}, outcome{replied, 0}, outcome{replied, 4}
	fails := outcome{Class: failed}
	tests := []struct {
		name string
		f    facts
		o    outcome
		t    tries
		p    policy
		want decision
	}{
		// 1. Age-out first and alone.
		{"deliver", batch, outcome{}, tries{}, p, decision{}},
		{"deliver again keeps the count", batch, outcome{}, tries{Attempts: 2, Refusals: 1}, limited, decision{Next: tries{Attempts: 2, Refusals: 1}}},
		{"an expired head goes by itself", facts{Records: n, Expired: 4}, outcome{}, tries{}, p, decision{Discard: 4, Reason: AgeExceeded}},
		{"what is left of it has its whole quota", facts{Records: n, Expired: 4}, outcome{}, tries{Attempts: 2}, limited, decision{Discard: 4, Reason: AgeExceeded}},
		{"an expired batch goes as a whole", facts{Records: n, Expired: n}, outcome{}, tries{}, p, decision{Discard: n, Reason: AgeExceeded}},
		{"and so do all parts of a bisected one", facts{Records: 5, Expired: n}, outcome{}, tries{}, bisect, decision{Discard: n, Reason: AgeExceeded}},
		{"age goes before the search for a culprit", facts{Records: 5, Expired: 4}, outcome{}, tries{Suspect: n}, isolate, decision{Discard: 4, Reason: AgeExceeded}},
		{"what the stream has dropped goes by itself", facts{Records: n, Retired: 3}, outcome{}, tries{Attempts: 9}, p, decision{Discard: 3, Reason: RecordExpired}},
		{"the mapping's limit goes before that", facts{Records: n, Expired: 5, Retired: 3}, outcome{}, tries{Attempts: 9}, p, decision{Discard: 5, Reason: AgeExceeded}},

		// 2. Throttles and the host's failures never count.
		{"throttled", batch, outcome{Class: throttled}, tries{}, limited, decision{Delay: 100 * time.Millisecond, Next: tries{Refusals: 1}}},
		{"throttled in the last attempt", batch, outcome{Class: throttled}, tries{Attempts: 2}, limited, decision{Delay: 100 * time.Millisecond, Next: tries{Attempts: 2, Refusals: 1}}},
		{"throttled for long", batch, outcome{Class: throttled}, tries{2, 1000, 0}, limited, decision{Delay: 5 * time.Second, Next: tries{2, 1001, 0}}},
		{"refused by the host", batch, outcome{Class: refused}, tries{2, 1, 0}, limited, decision{Delay: 200 * time.Millisecond, Next: tries{2, 2, 0}}},
		{"a throttled batch is not bisected", batch, outcome{Class: throttled}, tries{}, bisect, decision{Delay: 100 * time.Millisecond, Next: tries{Refusals: 1}}},
		{"nor is it looked through for a culprit", batch, outcome{Class: throttled}, tries{Suspect: 20}, isolate, decision{Delay: 100 * time.Millisecond, Next: tries{Refusals: 1, Suspect: 20}}},

		// 3. The function's failures.
		{"first failure", batch, fails, tries{}, p, decision{Delay: time.Second, Next: tries{Attempts: 1}}},
		{"second failure waits twice as long", batch, fails, tries{Attempts: 1}, p, decision{Delay: 2 * time.Second, Next: tries{Attempts: 2}}},
		{"the wait is bounded", batch, fails, tries{Attempts: 90}, p, decision{Delay: 30 * time.Second, Next: tries{Attempts: 91}}},
		{"without limit none is the last", batch, fails, tries{Attempts: 1 << 40}, p, decision{Delay: 30 * time.Second, Next: tries{Attempts: 1<<40 + 1}}},
		{"last but one attempt", batch, fails, tries{Attempts: 1}, limited, decision{Delay: 2 * time.Second, Next: tries{Attempts: 2}}},
		{"last attempt gives up", batch, fails, tries{Attempts: 2}, limited, decision{Discard: n, Reason: AttemptsExhausted}},
		{"a limit lowered below the count gives up", batch, fails, tries{Attempts: 7}, limited, decision{Discard: n, Reason: AttemptsExhausted}},
		{"a single attempt", single, fails, tries{}, once, decision{Discard: 1, Reason: AttemptsExhausted}},
		{"a failure ends a row of throttles", batch, fails, tries{Attempts: 1, Refusals: 6}, p, decision{Delay: 2 * time.Second, Next: tries{Attempts: 2}}},

		// 4. Bisect: splitting costs no attempt, and each half has a quota of its own.
		{"a failure is halved", batch, fails, tries{}, bisect, decision{Split: 5, Delay: time.Second}},
		{"also when a single attempt is allowed", batch, fails, tries{}, policy{MaxAttempts: 1, Bisect: true}, decision{Split: 5}},
		{"an odd number has the smaller half first", facts{Records: 5}, fails, tries{}, bisect, decision{Split: 2, Delay: time.Second}},
		{"two are taken apart", facts{Records: 2}, fails, tries{}, bisect, decision{Split: 1, Delay: time.Second}},
		{"one is tried again", single, fails, tries{}, bisect, decision{Delay: time.Second, Next: tries{Attempts: 1}}},
		{"and given up with its own last attempt", single, fails, tries{Attempts: 2}, bisect, decision{Discard: 1, Reason: AttemptsExhausted}},
		{"a half that is settled leaves the other as it is", facts{Records: 5}, outcome{replied, 5}, tries{}, bisect, decision{Settle: 5}},
		{"a partial reply divides at what it asks for", batch, some, tries{}, bisect, decision{Settle: 4, Delay: time.Second}},
		{"a reply that settles nothing is halved like a failure", batch, first, tries{}, bisect, decision{Split: 5, Delay: time.Second}},

		// 5. Partial replies: progress resets the quota.
		{"all settled", batch, all, tries{}, p, decision{Settle: n}},
		{"all settled after retries", batch, all, tries{2, 5, 0}, limited, decision{Settle: n}},
		{"a partial reply settles what is below it", batch, some, tries{}, p, decision{Settle: 4, Delay: time.Second}},
		{"progress in the last attempt resets the quota", batch, outcome{replied, 9}, tries{Attempts: 2}, limited, decision{Settle: 9, Delay: time.Second}},
		{"a reply that settles nothing is a failure", batch, first, tries{}, limited, decision{Delay: time.Second, Next: tries{Attempts: 1}}},
		{"and the last of them gives up", batch, first, tries{Attempts: 2}, limited, decision{Discard: n, Reason: AttemptsExhausted}},

		// Isolate: the culprit is looked for without waiting and without costing an attempt.
		{"a failure begins the search", batch, fails, tries{}, isolate, decision{Split: 5, Next: tries{Suspect: n}}},
		{"a half that fails has it", facts{Records: 5}, fails, tries{Suspect: n}, isolate, decision{Split: 2, Next: tries{Suspect: 5}}},
		{"a half that does not leaves the other", facts{Records: 5}, outcome{replied, 5}, tries{Suspect: n}, isolate, decision{Settle: 5, Split: 2, Next: tries{Suspect: 5}}},
		{"a single record that is left is it", single, outcome{replied, 1}, tries{Suspect: 2}, isolate, decision{Settle: 1}},
		{"a single record that fails is it, and has failed once", single, fails, tries{Suspect: 2}, isolate, decision{Delay: time.Second, Next: tries{Attempts: 1}}},
		{"it is given up alone", single, fails, tries{Attempts: 2}, isolate, decision{Discard: 1, Reason: AttemptsExhausted, Join: true}},
		{"or settled, and all that is left comes together", single, outcome{replied, 1}, tries{Attempts: 1}, isolate, decision{Settle: 1, Join: true}},
		{"isolating goes before bisecting", batch, fails, tries{}, both, decision{Split: 5, Next: tries{Suspect: n}}},
		{"a reply that names the culprit needs no search", batch, some, tries{}, isolate, decision{Settle: 4, Split: 1, Delay: time.Second}},
		{"nor does one that names the first record", batch, first, tries{}, isolate, decision{Split: 1, Delay: time.Second, Next: tries{Attempts: 1}}},
		{"which may have been its last attempt", batch, first, tries{Attempts: 2}, isolate, decision{Discard: 1, Reason: AttemptsExhausted, Join: true}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, decide(tt.f, tt.o, tt.t, tt.p)); diff != "" {
				t.Errorf("decide: (-want +got)\n%s", diff)
			}
		})
	}
}

func TestBackoff(t *testing.T) {
	b := backoff{time.Second, 5 * time.Second}
	for n, want := range map[int]time.Duration{0: 1, 1: 1, 2: 2, 3: 4, 4: 5, 5: 5, 1 << 30: 5} {
		if got := b.delay(n); got != want*time.Second {
			t.Errorf("delay(%d) = %v, want %v", n, got, want*time.Second)
		}
	}
	if got := (backoff{time.Minute, time.Second}).delay(1); got != time.Second {
		t.Errorf("a base above the maximum: %v, want the maximum", got)
	}
}

func TestJitter(t *testing.T) {
	for _, tt := range []struct {
		r    float64
		want time.Duration
	}{{0, 8 * time.Second}, {0.5, 6 * time.Second}, {0.999999999, 4 * time.Second}} {
		if got := jitter(8*time.Second, tt.r).Round(time.Millisecond); got != tt.want {
			t.Errorf("jitter(8s, %v) = %v, want %v", tt.r, got, tt.want)
		}
	}
}
