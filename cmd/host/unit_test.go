package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// unitFile is the unit for systemd that users install.
const unitFile = "../../deploy/shardmill.service"

// The unit's command is one that this program takes, it has the time to stop that the program takes, and its host outlives its compilers.
func TestUnit(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(unitFile)
	if err != nil {
		t.Fatal(err)
	}
	settings := map[string]string{}
	for line := range strings.Lines(string(text)) {
		if name, value, found := strings.Cut(strings.TrimSpace(line), "="); found && !strings.HasPrefix(name, "#") {
			settings[name] = value
		}
	}
	command := strings.Fields(settings["ExecStart"])
	serve := newServe(&app{})
	if len(command) < 2 || command[1] != serve.Name() {
		t.Fatalf("it starts %q", command)
	}
	if err := serve.ParseFlags(command[2:]); err != nil || serve.Flags().NArg() > 0 {
		t.Errorf("%q: %v", command, err)
	}
	if dir, _ := serve.Flags().GetString("data-dir"); dir != "/var/lib/"+settings["StateDirectory"] {
		t.Errorf("the data directory is %s", dir)
	}
	if stop, err := time.ParseDuration(settings["TimeoutStopSec"]); err != nil || stop < defaultDrain+5*time.Second {
		t.Errorf("it has %v to stop: %v", stop, err)
	}
	if got := settings["OOMPolicy"]; got != "continue" {
		t.Errorf("the policy is %q: a compiler that the system ends would end the host", got)
	}
	if settings["MemoryDenyWriteExecute"] != "" {
		t.Error("functions could not run")
	}
}

// systemd understands each setting.
func TestUnitIsUnderstood(t *testing.T) {
	t.Parallel()
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("NOT TESTED: there is no systemd-analyze")
	}
	text, err := os.ReadFile(unitFile)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "shardmill.service")
	writeFile(t, file, strings.Replace(string(text), "ExecStart=/usr/bin/shardmill", "ExecStart=/bin/true", 1)) // which is there
	if said, err := exec.CommandContext(t.Context(), analyze, "verify", "--man=no", file).CombinedOutput(); strings.Contains(string(said), "shardmill.service") {
		t.Errorf("%v: %s", err, said)
	}
}
