//go:build conformance

package conformance

import (
	"archive/zip"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// terraform is a project with its state, whose endpoints lead to a host.
type terraform struct {
	command, dir string
	env          []string
}

// settings are the project's variables.
type settings struct {
	zip              string
	timeout, batches int
	enabled          bool
}

func (s settings) args(words ...string) []string {
	return append(words, "-input=false", "-no-color", "-var", "zip="+s.zip, "-var", fmt.Sprintf("timeout=%d", s.timeout), "-var", fmt.Sprintf("batch_size=%d", s.batches),
		"-var", fmt.Sprintf("enabled=%t", s.enabled))
}

// TestTerraform makes a consumer of a stream with Terraform's own provider, changes it in place, has it work, and destroys it. What has been
// applied has nothing left to be changed.
func TestTerraform(t *testing.T) {
	host := startHost(t, false, "records were given up")
	project := newTerraform(t, host)
	cli := func(words ...string) string {
		t.Helper()
		return strings.TrimSpace(run(t, 30*time.Second, binary, append(words, "--endpoint", host, "--output", "json")...))
	}
	first := settings{zip: buildConsumer(t, "first"), timeout: 5, batches: 10}
	project.apply(t, first, "12 added, 0 changed, 0 destroyed")
	cli("stream", "put", "orders", "--partition-key", "k", "--data", `{"n":1}`)
	waitFor(t, "record at the consumer that fans out", func() bool {
		return strings.Contains(cli("function", "logs", "consumer"), `first consumed {\"n\":1} of arn:aws:kinesis:us-east-1:000000000000:stream/orders/consumer/fan:`)
	})
	if logs := cli("function", "logs", "consumer"); strings.Contains(logs, "stream/orders\"") {
		t.Errorf("a mapping that is not enabled has called its function: %s", logs)
	}

	second := settings{zip: buildConsumer(t, "second"), timeout: 7, batches: 25, enabled: true}
	project.apply(t, second, "0 added, 4 changed, 0 destroyed") // the function, the alias, its asynchronous invocations, and the mapping
	if answer := cli("function", "invoke", "consumer", "{}", "--alias", "live"); answer != `{"build":"second","level":"debug"}` {
		t.Errorf("the alias leads to %s, want the second build with its variables", answer)
	}
	checkFlow(t, cli)
	checkOutcome(t, host, cli)

	second.enabled = false
	project.apply(t, second, "0 added, 1 changed, 0 destroyed")
	project.run(t, 3*time.Minute, second.args("destroy", "-auto-approve")...)
	for _, what := range []string{"stream", "function", "mapping"} {
		if left := cli(what, "list"); left != "" && !strings.HasPrefix(left, `{"name":"lambda-async"`) { // the host's own
			t.Errorf("after destroy there is still the %s %s", what, left)
		}
	}
}

// checkFlow holds that records reach the function as the mapping's settings say: filtered, with the rest of a batch when one fails, and what fails for good stored.
func checkFlow(t *testing.T, cli func(words ...string) string) {
	t.Helper()
	for _, order := range []struct{ key, data string }{{"k", `{"n":0}`}, {"vip", `{"n":-1}`}, {"k", `{"n":13}`}, {"k", `{"n":2}`}} {
		cli("stream", "put", "orders", "--partition-key", order.key, "--data", order.data)
	}
	var logs string
	consumed := func(data string) bool {
		return strings.Contains(logs, fmt.Sprintf(`second consumed {\"n\":%s} of arn:aws:kinesis:us-east-1:000000000000:stream/orders"`, data))
	}
	waitFor(t, "record behind the one that fails", func() bool {
		logs = cli("function", "logs", "consumer")
		return consumed("1") && consumed("-1") && consumed("13") && consumed("2")
	})
	if consumed("0") {
		t.Errorf("the function was given what its filters do not match: %s", logs)
	}
	var failed string
	waitFor(t, "document of what failed", func() bool {
		failed = cli("stream", "tail", "failed", "--from", "oldest", "--follow=false")
		return failed != ""
	})
	if strings.Count(failed, "\n") != 0 || !strings.Contains(failed, "RetryAttemptsExhausted") {
		t.Errorf("the stream of failures has %q, want one document of a record that was tried as often as the mapping says", failed)
	}
}

// checkOutcome holds that an asynchronous invocation of the alias tells its end where the project says.
func checkOutcome(t *testing.T, host string, cli func(words ...string) string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, host+"/2015-03-31/functions/consumer:live/invocations", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("X-Amz-Invocation-Type", "Event")
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	var done string
	waitFor(t, "document of what succeeded", func() bool {
		done = cli("stream", "tail", "done", "--from", "oldest", "--follow=false")
		return done != ""
	})
	if res.StatusCode != http.StatusAccepted || !strings.Contains(done, "Success") || !strings.Contains(done, "second") || !strings.Contains(done, "function:consumer:live") {
		t.Errorf("an asynchronous invocation is answered %d and told as %s", res.StatusCode, done)
	}
}

// newTerraform copies the project and has Terraform find the provider. Where either is missing the test is skipped.
func newTerraform(t *testing.T, host string) *terraform {
	t.Helper()
	const advice = "it is had from developer.hashicorp.com/terraform/install; the provider hashicorp/aws (5.100) from the registry, from what Terraform's CLI configuration says, or from the folder " +
		"that SHARDMILL_TERRAFORM_PLUGINS names, laid out as `terraform providers mirror` does"
	command, err := exec.LookPath("terraform")
	if err != nil {
		t.Skipf("SKIPPED: terraform is not on the PATH: %s", advice)
	}
	p := &terraform{command: command, dir: t.TempDir(), env: append(os.Environ(), "AWS_ENDPOINT_URL_LAMBDA="+host, "AWS_ENDPOINT_URL_KINESIS="+host, "AWS_REGION=us-east-1",
		"AWS_ACCESS_KEY_ID=any", "AWS_SECRET_ACCESS_KEY=any", "CHECKPOINT_DISABLE=1")}
	text, err := os.ReadFile("testdata/terraform/main.tf")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(p.dir, "main.tf"), text, 0o600); err != nil {
		t.Fatal(err)
	}
	words := []string{"init", "-input=false", "-no-color"}
	if plugins := os.Getenv("SHARDMILL_TERRAFORM_PLUGINS"); plugins != "" {
		words = append(words, "-plugin-dir="+plugins)
	}
	if out, err := p.try(t, 3*time.Minute, words...); err != nil {
		t.Skipf("SKIPPED: Terraform does not find its provider: %v\n%s\n%s", err, out, advice)
	}
	return p
}

// apply brings what the project says about, with the counts that Terraform is to report, and holds that nothing is left to be done.
func (p *terraform) apply(t *testing.T, s settings, counts string) {
	t.Helper()
	out := p.run(t, 3*time.Minute, s.args("apply", "-auto-approve")...)
	if !strings.Contains(out, "Resources: "+counts) {
		t.Fatalf("apply did not end with %q:\n%s", counts, out)
	}
	if out, err := p.try(t, time.Minute, s.args("plan", "-detailed-exitcode")...); err != nil {
		t.Fatalf("plan after apply: %v, so it would change something:\n%s", err, out)
	}
}

func (p *terraform) run(t *testing.T, limit time.Duration, words ...string) string {
	t.Helper()
	out, err := p.try(t, limit, words...)
	if err != nil {
		t.Fatalf("terraform %s: %v\n%s", words[0], err, out)
	}
	return out
}

// try runs one of Terraform's commands. At its end, or at the limit, it is interrupted first: it ends its provider then.
func (p *terraform) try(t *testing.T, limit time.Duration, words ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeoutCause(t.Context(), limit, errors.New("it took too long"))
	defer cancel()
	cmd := exec.CommandContext(ctx, p.command, append([]string{"-chdir=" + p.dir}, words...)...)
	cmd.Env = p.env
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	began := time.Now()
	out, err := cmd.CombinedOutput()
	t.Logf("terraform %s: %v", words[0], time.Since(began).Round(time.Second))
	return string(out), err
}

// buildConsumer compiles testdata/terraform/consumer with a name for the build, and gives a zip of it.
func buildConsumer(t *testing.T, name string) (file string) {
	t.Helper()
	dir := t.TempDir()
	module := filepath.Join(dir, "bootstrap.wasm")
	t.Setenv("GOOS", "wasip1")
	t.Setenv("GOARCH", "wasm")
	run(t, 2*time.Minute, "go", "build", "-trimpath", "-ldflags", "-s -w -X main.build="+name, "-o", module, "./testdata/terraform/consumer")
	code, err := os.ReadFile(module)
	if err != nil {
		t.Fatal(err)
	}
	file = filepath.Join(dir, name+".zip")
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	z := zip.NewWriter(f)
	w, err := z.Create("bootstrap.wasm")
	if err != nil {
		t.Fatal(err)
	}
	_, err = w.Write(code)
	if err := errors.Join(err, z.Close(), f.Close()); err != nil {
		t.Fatal(err)
	}
	return file
}
