package runtime

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/shardmill/shardmill/sdk/abi"
	"github.com/shardmill/shardmill/sdk/record"
)

// secrets are those of a test; "broken" cannot be read, "slow" comes when the call has ended.
type secrets map[string]string

func (s secrets) Secret(ctx context.Context, name string) ([]byte, error) {
	switch value, ok := s[name]; {
	case name == "broken":
		return nil, errors.New("the key is gone")
	case name == "slow":
		<-ctx.Done()
		return nil, ctx.Err()
	case ok:
		return []byte(value), nil
	}
	return nil, ErrNoSecret
}

func openOutside(t *testing.T, config Config, more ...func(*Options)) *world {
	t.Helper()
	w := open(t, append([]func(*Options){func(o *Options) {
		o.Doors.Secrets = secrets{"token": "hunter2hunter2", "pin": "1234"}
	}}, more...)...)
	w.deploy(t, "f", guests["outside"], config)
	return w
}

func TestEnvironment(t *testing.T) {
	t.Setenv("HOSTS_OWN", "not for guests")
	w := openOutside(t, Config{Secrets: []string{"token"}, Env: map[string]string{"B": "two words", "A": "="}})
	if got := w.mustAsk(t, "f", "env"); got != "A== B=two words" {
		t.Errorf("the guest's environment is %q", got)
	}
	// Another environment is another version.
	f := w.deploy(t, "f", guests["outside"], Config{Secrets: []string{"token"}, Env: map[string]string{"A": "1"}})
	if got := w.mustAsk(t, "f", "env"); f.Version != 2 || got != "A=1" {
		t.Errorf("version %d has the environment %q", f.Version, got)
	}
}

func TestGrantsOutliveAStart(t *testing.T) {
	w := open(t)
	config := w.deploy(t, "f", constant(t, "x"), Config{Secrets: []string{"b", "a"}, Env: map[string]string{"A": "1", "B": ""}}).Config
	f, err := reopen(t, w.stores).Get("f")
	if err != nil || !f.Config.equal(config) || len(f.Config.Env) != 2 || len(f.Config.Secrets) != 2 {
		t.Errorf("after a start: %+v, %v", f.Config, err)
	}
}

// A program of WASI has the same grants.
func TestDoorsOfAProgram(t *testing.T) {
	w := open(t, func(o *Options) { o.Doors.Secrets = secrets{"token": "hunter2hunter2"} })
	w.deploy(t, "c", guests["command"], Config{Secrets: []string{"token"}, Env: map[string]string{"A": "1"}, Timeout: 5 * time.Second})
	if got := w.mustAsk(t, "c", "env"); got != "A=1 14" {
		t.Errorf("%q", got)
	}
}

func TestSecrets(t *testing.T) {
	w := openOutside(t, Config{Secrets: []string{"token", "missing", "broken"}})
	for name, want := range map[string]string{
		"token":                  "hunter2hunter2",
		"missing":                `not found | secret "missing": not found: the host has no secret "missing"`,
		"broken":                 `unavailable | secret "broken": unavailable: secret "broken" cannot be read: the key is gone`,
		"pin":                    `not granted | secret "pin": not granted: it asked for secret "pin", which the function's configuration does not grant`,
		"":                       `invalid | secret "": invalid: the name of a secret has 0 bytes; it must be 1 to 128`,
		strings.Repeat("x", 129): `invalid | secret "` + strings.Repeat("x", 129) + `": invalid: the name of a secret has 129 bytes; it must be 1 to 128`,
	} {
		if got := w.mustAsk(t, "f", "secret "+name); got != want {
			t.Errorf("secret %q: %s", name, got)
		}
	}
	if got := w.mustAsk(t, "f", "early"); got != "-6" {
		t.Errorf("a secret before any call: %s", got)
	}
	if got := w.mustAsk(t, "f", "raw"); got != "[-4 -4 -4 14 14 14 14 104 117]" {
		t.Errorf("odd arguments are answered with %s", got)
	}
}

func TestDoorsThatAreNotThere(t *testing.T) {
	w := openOutside(t, Config{Secrets: []string{"token"}}, func(o *Options) { o.Doors = Doors{} })
	if got := w.mustAsk(t, "f", "secret token"); !strings.HasPrefix(got, "unavailable | ") {
		t.Errorf("a host without secrets: %s", got)
	}
}

func TestSecretWaitsNoLongerThanTheCall(t *testing.T) {
	w := openOutside(t, Config{Secrets: []string{"slow"}, Timeout: time.Second})
	_, err := w.ask(t.Context(), "f", "secret slow")
	failure(t, err, FailTimeout)
}

func TestDeniedIsCountedAndLogged(t *testing.T) {
	registry := prometheus.NewRegistry()
	w := openOutside(t, Config{Secrets: []string{"token"}}, func(o *Options) { o.Registerer = registry })
	for range 3 {
		w.mustAsk(t, "f", "secret pin")
	}
	want := `
# HELP shardmill_function_denied_total Calls of the host that the configuration did not grant, by what was called.
# TYPE shardmill_function_denied_total counter
shardmill_function_denied_total{door="secret",function="f"} 3
`
	if err := testutil.GatherAndCompare(registry, strings.NewReader(want), "shardmill_function_denied_total"); err != nil {
		t.Error(err)
	}
	lines, err := w.Logs(t.Context(), "f", time.Time{}, false)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for l := range lines {
		if l.Level == abi.LevelWarn && l.Message == `denied: it asked for secret "pin", which its configuration does not grant` {
			n++
		}
	}
	if n != 3 {
		t.Errorf("%d lines tell of it", n)
	}
	if err := w.Delete(t.Context(), "f"); err != nil {
		t.Fatal(err)
	}
	if n, err := testutil.GatherAndCount(registry, "shardmill_function_denied_total"); n != 0 || err != nil {
		t.Errorf("the deleted function has %d series, %v", n, err)
	}
}

// Nothing that people are shown has a secret in it, whichever way the guest says it.
func TestSecretsAreTakenOut(t *testing.T) {
	w := openOutside(t, Config{Secrets: []string{"token", "pin"}, Concurrency: 1})
	_, err := w.ask(t.Context(), "f", "tell token")
	if f := failure(t, err, FailError); f.Message != "secret [secret], %!w(<nil>)" {
		t.Errorf("the error says %q", f.Message)
	}
	w.mustAsk(t, "f", "again hunter2hunter2")
	_, err = w.ask(t.Context(), "f", "tell pin") // too short to be told from other text
	failure(t, err, FailError)
	var reply Reply
	if err := w.Invoke(t.Context(), Call{Function: "f", Kind: KindBatch, Records: []record.Run{records(t, "k", "token")}}, &reply); err != nil {
		t.Fatal(err)
	}
	if len(reply.Outcomes) != 1 || reply.Outcomes[0].Reason != "because of [secret]" {
		t.Errorf("outcomes %+v", reply.Outcomes)
	}
	_, err = w.ask(t.Context(), "f", "shout hunter2hunter2")
	if f := failure(t, err, FailError); strings.Contains(f.Message+f.Stack+f.Type, "hunter2") {
		t.Errorf("the panic says %+v", f)
	}
	lines, err := w.Logs(t.Context(), "f", time.Time{}, false)
	if err != nil {
		t.Fatal(err)
	}
	var said []string
	for l := range lines {
		said = append(said, l.Message)
		if strings.Contains(l.Message, "hunter2") {
			t.Errorf("the log says %q", l.Message)
		}
	}
	all := strings.Join(said, "\n")
	for _, part := range []string{"it is [secret]", "[secret][secret]", "it was [secret]", "it is 1234"} {
		if !strings.Contains(all, part) {
			t.Errorf("the log does not say %q:\n%s", part, all)
		}
	}
}

func TestMask(t *testing.T) {
	var m mask
	for _, v := range []string{"zebra1", "zebra1crossing", "short", "zebra1", ""} {
		m.add([]byte(v))
	}
	old := m
	m.add([]byte("another"))
	if got := m.text("a zebra1crossing zebra1 is another short one"); got != "a [secret] [secret] is [secret] short one" {
		t.Errorf("%q", got)
	}
	if got := old.text("another"); got != "another" || len(old.values) != 2 {
		t.Errorf("a copy has changed: %q, %q", got, old.values)
	}
	for i := range 2 * maxMasked {
		m.add([]byte(strings.Repeat("v", 6+i)))
	}
	if len(m.values) != maxMasked {
		t.Errorf("%d values are kept", len(m.values))
	}
}

// What a configuration gives no use for cannot be imported; the refusal names it.
func TestImportsThatAreNotGranted(t *testing.T) {
	w := open(t)
	_, err := w.Deploy(t.Context(), "f", guests["outside"], Config{})
	var refused *FieldError
	if !errors.As(err, &refused) || refused.Field != "code" || refused.Value != "shardmill.secret" {
		t.Fatalf("%v", err)
	}
	if want := "code imports shardmill.secret, which its configuration does not grant; it must be a module without it, or a configuration that grants a secret"; refused.Error() != want {
		t.Errorf("%q", refused.Error())
	}
	if _, err := w.Get("f"); !errors.Is(err, ErrNotFound) {
		t.Errorf("what was refused is there: %v", err)
	}
	// All of them, and what each needs once.
	err = admitDoors([]string{abi.ImportHTTPFetch, abi.ImportStateGet, abi.ImportStatePut, abi.ImportResult, abi.ImportSecret}, &Config{HTTP: []string{"GET https://a:443"}})
	want := "code imports shardmill.secret, shardmill.state_get and shardmill.state_put, which its configuration does not grant; " +
		"it must be a module without them, or a configuration that grants a secret and a state table"
	if err == nil || err.Error() != want {
		t.Errorf("%v\nwant %s", err, want)
	}
	for _, d := range hostDoors() {
		if d.call == nil || d.granted != nil && d.needs == "" {
			t.Errorf("%s has no behaviour, or does not say what it needs", d.Name)
		}
	}
}
