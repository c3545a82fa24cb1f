package triggers

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestDecide(t *testing.T) {
	p := policy{Failure: backoff{time.Second, 30 * time.Second}, Refusal: backoff{100 * time.Millisecond, 5 * time.Second}}
	limited := p
	limited.MaxAttempts = 3
	const n = 10
	tests := []struct {
		name string
		f    facts
		o    outcome
		t    tries
		p    policy
		want decision
	}{
		// Before an attempt only age matters.
		{"deliver", facts{Records: n}, outcome{}, tries{}, p, decision{}},
		{"deliver again keeps the count", facts{Records: n}, outcome{}, tries{2, 1}, limited, decision{Next: tries{2, 1}}},
		{"an expired head goes by itself", facts{n, 4}, outcome{}, tries{}, p, decision{Discard: 4, Reason: AgeExceeded}},
		{"what is left of it has its whole quota", facts{n, 4}, outcome{}, tries{2, 0}, limited, decision{Discard: 4, Reason: AgeExceeded}},
		{"an expired batch goes as a whole", facts{n, n}, outcome{}, tries{}, p, decision{Discard: n, Reason: AgeExceeded}},

		// A reply.
		{"all settled", facts{Records: n}, outcome{replied, n}, tries{}, p, decision{Settle: n}},
		{"all settled after retries", facts{Records: n}, outcome{replied, n}, tries{2, 5}, limited, decision{Settle: n}},
		{"a partial reply settles what is below it", facts{Records: n}, outcome{replied, 4}, tries{}, p, decision{Settle: 4, Delay: time.Second}},
		{"progress in the last attempt resets the quota", facts{Records: n}, outcome{replied, 9}, tries{2, 0}, limited, decision{Settle: 9, Delay: time.Second}},
		{"a reply that settles nothing is a failure", facts{Records: n}, outcome{replied, 0}, tries{}, limited, decision{Delay: time.Second, Next: tries{1, 0}}},
		{"and the last of them gives up", facts{Records: n}, outcome{replied, 0}, tries{2, 0}, limited, decision{Discard: n, Reason: AttemptsExhausted}},

		// The function's failures.
		{"first failure", facts{Records: n}, outcome{Class: failed}, tries{}, p, decision{Delay: time.Second, Next: tries{1, 0}}},
		{"second failure waits twice as long", facts{Records: n}, outcome{Class: failed}, tries{1, 0}, p, decision{Delay: 2 * time.Second, Next: tries{2, 0}}},
		{"the wait is bounded", facts{Records: n}, outcome{Class: failed}, tries{90, 0}, p, decision{Delay: 30 * time.Second, Next: tries{91, 0}}},
		{"without limit none is the last", facts{Records: n}, outcome{Class: failed}, tries{1 << 40, 0}, p, decision{Delay: 30 * time.Second, Next: tries{1<<40 + 1, 0}}},
		{"last but one attempt", facts{Records: n}, outcome{Class: failed}, tries{1, 0}, limited, decision{Delay: 2 * time.Second, Next: tries{2, 0}}},
		{"last attempt gives up", facts{Records: n}, outcome{Class: failed}, tries{2, 0}, limited, decision{Discard: n, Reason: AttemptsExhausted}},
		{"a limit lowered below the count gives up", facts{Records: n}, outcome{Class: failed}, tries{7, 0}, limited, decision{Discard: n, Reason: AttemptsExhausted}},
		{"a single attempt", facts{Records: 1}, outcome{Class: failed}, tries{}, policy{MaxAttempts: 1}, decision{Discard: 1, Reason: AttemptsExhausted}},
		{"a failure ends a row of throttles", facts{Records: n}, outcome{Class: failed}, tries{1, 6}, p, decision{Delay: 2 * time.Second, Next: tries{2, 0}}},

		// Throttles and the host's failures never count.
		{"throttled", facts{Records: n}, outcome{Class: throttled}, tries{}, limited, decision{Delay: 100 * time.Millisecond, Next: tries{0, 1}}},
		{"throttled in the last attempt", facts{Records: n}, outcome{Class: throttled}, tries{2, 0}, limited, decision{Delay: 100 * time.Millisecond, Next: tries{2, 1}}},
		{"throttled for long", facts{Records: n}, outcome{Class: throttled}, tries{2, 1000}, limited, decision{Delay: 5 * time.Second, Next: tries{2, 1001}}},
		{"refused by the host", facts{Records: n}, outcome{Class: refused}, tries{2, 1}, limited, decision{Delay: 200 * time.Millisecond, Next: tries{2, 2}}},
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
