package main

import (
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

var readyLine = regexp.MustCompile(`host is ready.* api=(http://\S+) admin=(http://\S+)`)

// process is shardmill serve in a process of its own.
type process struct {
	*exec.Cmd
	api, admin string
	log        *lines
	ended      chan struct{}
}

func startProcess(t *testing.T, dataDir string) *process {
	t.Helper()
	p := &process{
		Cmd:   exec.Command(os.Args[0], "serve", "--data-dir", dataDir, "--listen", freePort, "--admin-listen", freePort, "--drain", "1m"),
		log:   newLines(),
		ended: make(chan struct{}),
	}
	p.Env = append(os.Environ(), asMain+"=1")
	p.Stderr = p.log
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.ended)
		p.Wait()
	}()
	t.Cleanup(func() {
		p.Process.Kill()
		<-p.ended
	})
	m := readyLine.FindStringSubmatch(p.log.await(t, "host is ready", p.ended))
	p.api, p.admin = m[1], m[2]
	return p
}

// end waits for the process and returns its exit status, -1 when a signal ended it.
func (p *process) end() int {
	<-p.ended
	return p.ProcessState.ExitCode()
}

func TestServeStopsOnSignals(t *testing.T) {
	t.Parallel()
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		t.Run(sig.String(), func(t *testing.T) {
			dir := t.TempDir()
			p := startProcess(t, dir)
			if status := get(t, p.admin+"/readyz"); status != http.StatusOK {
				t.Errorf("/readyz answers %d", status)
			}

			// A second host on the directory, while the first runs.
			second := cli{}.run(t.Context(), "serve", "--data-dir", dir, "--listen", freePort, "--admin-listen", freePort)
			if second.status != exitFailure || !strings.Contains(second.stderr, dir) ||
				!strings.Contains(second.stderr, "process "+strconv.Itoa(p.Process.Pid)) {
				t.Errorf("second host: %+v", second)
			}

			p.Process.Signal(sig)
			if status := p.end(); status != exitOK || !strings.Contains(p.log.String(), "msg=stopped") {
				t.Errorf("status %d, log:\n%s", status, p.log)
			}
		})
	}
}

func TestServeSecondSignalEndsAtOnce(t *testing.T) {
	p := startProcess(t, t.TempDir())
	beginRequest(t, strings.TrimPrefix(p.api, "http://"), "s") // keeps the drain from ending
	p.Process.Signal(syscall.SIGTERM)
	p.log.await(t, "msg=stopping", p.ended)
	p.Process.Signal(syscall.SIGTERM)
	if status := p.end(); status != -1 {
		t.Errorf("status %d, want the end by a signal; log:\n%s", status, p.log)
	}
}

// A reader that goes away ends dev quietly, and nothing temporary stays behind.
func TestBrokenPipe(t *testing.T) {
	t.Parallel()
	tmp := t.TempDir()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	cmd := exec.Command(os.Args[0], "dev", delaysDir, "--stream", "flights", "--feed", flights, "--key", "origin", "--listen", freePort)
	cmd.Env = append(os.Environ(), asMain+"=1", "TMPDIR="+tmp)
	cmd.Stdout = w
	var said strings.Builder
	cmd.Stderr = &said
	err = cmd.Run()
	w.Close()
	if status := cmd.ProcessState.ExitCode(); status != exitFailure || strings.Contains(said.String(), "shardmill: ") {
		t.Errorf("%v, status %d: %s", err, status, said.String())
	}
	if left, _ := filepath.Glob(filepath.Join(tmp, "shardmill-*")); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

func get(t *testing.T, url string) int {
	t.Helper()
	r, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	io.Copy(io.Discard, r.Body)
	http.DefaultClient.CloseIdleConnections()
	return r.StatusCode
}

func TestServeRefuses(t *testing.T) {
	newer := t.TempDir()
	writeFile(t, filepath.Join(newer, "VERSION"), "99\n")
	foreign := t.TempDir()
	writeFile(t, filepath.Join(foreign, "notes.txt"), "mine")
	config := filepath.Join(t.TempDir(), "config.yaml")
	writeFile(t, config, "data-dri: /tmp/x\n")
	never := filepath.Join(t.TempDir(), "never.yaml")
	writeFile(t, never, "idle-timeout: 0s\n")
	tests := []struct {
		name   string
		args   []string
		env    map[string]string
		status int
		says   string
	}{
		{"newer data", []string{"--data-dir", newer}, nil, exitFailure, "has format 99"},
		{"foreign folder", []string{"--data-dir", foreign}, nil, exitFailure, "notes.txt"},
		{"all interfaces", []string{"--listen", "0.0.0.0:0"}, nil, exitUsage, "--listen 0.0.0.0:0 would accept anybody"},
		{"admin on all interfaces", []string{"--admin-listen", ":0"}, nil, exitUsage, "--admin-listen :0 would accept anybody"},
		{"all interfaces by variable", nil, map[string]string{"SHARDMILL_LISTEN": "[::]:0"}, exitUsage, "without authentication"},
		{"no port", []string{"--listen", "localhost"}, nil, exitUsage, "HOST:PORT"},
		{"log level", []string{"--log-level", "loud"}, nil, exitUsage, `"loud"`},
		{"log format", []string{"--log-format", "xml"}, nil, exitUsage, `"xml"`},
		{"unknown key", []string{"--config", config}, nil, exitUsage, `unknown key "data-dri"`},
		{"config by variable", nil, map[string]string{"SHARDMILL_CONFIG": config}, exitUsage, `unknown key "data-dri"`},
		{"no such config", []string{"--config", "none.yaml"}, nil, exitFailure, "none.yaml"},
		{"argument", []string{"now"}, nil, exitUsage, "now"},
		{"unknown flag", []string{"--port", "1"}, nil, exitUsage, "--port"},
		{"bad drain", []string{"--drain", "long"}, nil, exitUsage, "drain"},
		{"negative drain", []string{"--drain", "-1s"}, nil, exitUsage, "--drain is -1s; it must be 0s"},
		{"negative drain by variable", nil, map[string]string{"SHARDMILL_DRAIN": "-1s"}, exitUsage, "SHARDMILL_DRAIN is -1s; it must be 0s"},
		{"no idle timeout", []string{"--idle-timeout", "0s"}, nil, exitUsage, "--idle-timeout is 0s; it must be 1s or more"},
		{"no idle timeout in a file", []string{"--config", never}, nil, exitUsage, never + ": idle-timeout is 0s; it must be 1s or more"},
		{"no idle memory", []string{"--idle-memory", "0"}, nil, exitUsage, "--idle-memory is 0; it must be 1MiB or more"},
		{"log level by variable", nil, map[string]string{"SHARDMILL_LOG_LEVEL": "loud"}, exitUsage, `SHARDMILL_LOG_LEVEL is "loud"`},
		{"relative folder", []string{"--failure-dir", "failures"}, nil, exitUsage, `--failure-dir is "failures"; it must be the absolute path of a folder`},
		{"host with a path", nil, map[string]string{"SHARDMILL_FAILURE_HOST": "http://hooks/"}, exitUsage, "SHARDMILL_FAILURE_HOST: host is"},
		{"endpoint without scheme", nil, map[string]string{"AWS_ENDPOINT_URL": "localhost:9000"}, exitUsage, "AWS_ENDPOINT_URL: endpoint is"},
		{"addressing style", []string{"--s3-addressing-style", "host"}, nil, exitUsage, `"host"; it can be auto, path or virtual`},
		{"half of the credentials", nil, map[string]string{"AWS_ACCESS_KEY_ID": "a"}, exitUsage, "need each other"},
		{"no data directory", []string{"--data-dir", ""}, nil, exitUsage, "--data-dir is empty"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			data := filepath.Join(t.TempDir(), "data")
			args := append([]string{"serve", "--data-dir", data, "--admin-listen", freePort}, tt.args...)
			if tt.env["SHARDMILL_LISTEN"] == "" {
				args = append([]string{args[0], "--listen", freePort}, args[1:]...)
			}
			r := cli{env: tt.env}.run(t.Context(), args...)
			if r.status != tt.status || !strings.Contains(r.stderr, tt.says) {
				t.Errorf("status %d, want %d with %q; said %s", r.status, tt.status, tt.says, r.stderr)
			}
			if r.stdout != "" {
				t.Errorf("wrote to standard output: %s", r.stdout)
			}
			if _, err := os.Stat(data); err == nil {
				t.Error("a data directory was made")
			}
		})
	}
}

func TestServePortTaken(t *testing.T) {
	h := testHost(t)
	r := cli{}.run(t.Context(), "serve", "--data-dir", t.TempDir(), "--listen", h.addr(), "--admin-listen", freePort)
	if r.status != exitFailure || !strings.Contains(r.stderr, "--listen") || !strings.Contains(r.stderr, "address already in use") {
		t.Errorf("%+v", r)
	}
}

func TestServeSettingsFromFile(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	config := filepath.Join(t.TempDir(), "config.yaml")
	writeFile(t, config, "data-dir: "+data+"\nlisten: "+freePort+"\nadmin-listen: "+freePort+"\nlog-format: json\ndrain: 5s\n")
	serve := cli{}.start(t, "serve", "--config", config)
	serve.errs.await(t, `"msg":"host is ready"`, serve.ended)
	if status := serve.end(); status != exitOK {
		t.Errorf("status %d: %s", status, serve.errs)
	}
	if _, err := os.Stat(filepath.Join(data, "VERSION")); err != nil {
		t.Error(err)
	}
}
