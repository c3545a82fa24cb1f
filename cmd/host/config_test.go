package main

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"
)

func TestLoadSettings(t *testing.T) {
	tests := []struct {
		name string
		args []string
		env  map[string]string
		yaml string
		want string // listen, drain
		err  string
	}{
		{name: "defaults", want: "default 10s"},
		{name: "file", yaml: "listen: file\ndrain: 3s\n", want: "file 3s"},
		{name: "environment over file", yaml: "listen: file\n", env: map[string]string{"SHARDMILL_LISTEN": "env"}, want: "env 10s"},
		{name: "flag over both", args: []string{"--listen=flag"}, yaml: "listen: file\n",
			env: map[string]string{"SHARDMILL_LISTEN": "env", "SHARDMILL_DRAIN": "4s"}, want: "flag 4s"},
		{name: "a flag given its default is given", args: []string{"--listen=default"}, yaml: "listen: file\n", want: "default 10s"},
		{name: "empty variable", env: map[string]string{"SHARDMILL_LISTEN": ""}, yaml: "listen: file\n", want: "file 10s"},
		{name: "comments only", yaml: "# nothing\n", want: "default 10s"},
		{name: "unknown key", yaml: "listen: a\nlisten-on: b\n", err: `unknown key "listen-on"; the keys are listen, drain`},
		{name: "key twice", yaml: "listen: a\nlisten: b\n", err: "listen"},
		{name: "list", yaml: "listen: [a]\n", err: "listen needs one value"},
		{name: "no value", yaml: "listen:\n", err: "listen needs one value"},
		{name: "not a map", yaml: "- listen\n", err: "shardmill.yaml: "},
		{name: "map", yaml: "listen: {a: b}\n", err: "listen needs one value"},
		{name: "number as it is written", yaml: "listen: 000000000010\n", want: "000000000010 10s"},
		{name: "quoted", yaml: "listen: \"0x10\"\n", want: "0x10 10s"},
		{name: "bad value in file", yaml: "drain: soon\n", err: `shardmill.yaml: drain is "soon"; it must be a duration with its unit`},
		{name: "bad value in environment", env: map[string]string{"SHARDMILL_DRAIN": "soon"}, err: `SHARDMILL_DRAIN is "soon"; it must be a duration with its unit`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			flags := pflag.NewFlagSet("serve", pflag.ContinueOnError)
			listen := flags.String("listen", "default", "")
			drain := flags.Duration("drain", 10*time.Second, "")
			if err := flags.Parse(tt.args); err != nil {
				t.Fatal(err)
			}
			path := ""
			if tt.yaml != "" {
				path = filepath.Join(t.TempDir(), "shardmill.yaml")
				writeFile(t, path, tt.yaml)
			}
			lookup := func(name string) (string, bool) { v, ok := tt.env[name]; return v, ok }
			from, err := loadSettings(flags, []string{"listen", "drain"}, lookup, path)
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Fatalf("got error %v, want %q", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := *listen + " " + drain.String(); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
			want := map[string]string{"file": path + ": listen", "000000000010": path + ": listen", "0x10": path + ": listen", "env": "SHARDMILL_LISTEN", "flag": "--listen", "default": "--listen"}[*listen]
			if got := from.of("listen"); got != want {
				t.Errorf("listen is said to come from %s, want %s", got, want)
			}
		})
	}
	if _, err := loadSettings(pflag.NewFlagSet("", 0), nil, nil, filepath.Join(t.TempDir(), "none.yaml")); err == nil {
		t.Error("a config file that does not exist was accepted")
	}
}

// TestListSettings checks settings that can be repeated: the file has one value or a list.
func TestListSettings(t *testing.T) {
	for yaml, want := range map[string]string{
		"host: a\n":           "[a]",
		"host: a,b\n":         "[a,b]",
		"host: [a, 'b,c']\n":  "[a,\"b,c\"]",
		"host:\n- a\n- 010\n": "[a,010]",
		"host: []\n":          "[]",
		"host: [[a]]\n":       "",
		"host: [a, {b: c}]\n": "",
		"host: ~\n":           "",
	} {
		flags := pflag.NewFlagSet("serve", pflag.ContinueOnError)
		flags.StringSlice("host", []string{"default"}, "")
		path := filepath.Join(t.TempDir(), "c.yaml")
		writeFile(t, path, yaml)
		_, err := loadSettings(flags, []string{"host"}, func(string) (string, bool) { return "", false }, path)
		if want == "" {
			if err == nil || !strings.Contains(err.Error(), "host needs") {
				t.Errorf("%q: got error %v", yaml, err)
			}
			continue
		}
		if got := flags.Lookup("host").Value.String(); err != nil || got != want {
			t.Errorf("%q is %s, %v; want %s", yaml, got, err, want)
		}
	}
}

// FuzzYAML checks that no file makes the readers of configuration panic.
func FuzzYAML(f *testing.F) {
	for _, seed := range []string{"emit: !!str a", "emit: [a]\nenv: {A: 010}\ntimeout: 3s", "a: &x [1]\nb: *x", "a: !!binary aGk=", "- a", "a: |\n  x", "<<: {emit: [a]}", "show:\n  s: [a = b / c]"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var m manifest
		if decodeYAML(b, &m) == nil {
			_ = m.parse()
		}
		var settings map[string]setting
		_ = decodeYAML(b, &settings)
	})
}

func TestCheckBind(t *testing.T) {
	tests := []struct {
		addr     string
		insecure bool
		err      string
	}{
		{"127.0.0.1:4780", false, ""},
		{"127.8.8.8:0", false, ""},
		{"localhost:4780", false, ""},
		{"[::1]:4780", false, ""},
		{"[::ffff:127.0.0.1]:4780", false, ""},
		{"0.0.0.0:4780", false, "add --insecure"},
		{":4780", false, "every address"},
		{"[::]:4780", false, "add --insecure"},
		{"[::ffff:0.0.0.0]:4780", false, "on every address of this machine"},
		{"[::ffff:192.0.2.7]:4780", false, "on 192.0.2.7"},
		{"192.0.2.7:4780", false, "192.0.2.7"},
		{"192.0.2.7:4780", true, ""},
		{":4780", true, ""},
		{"4780", false, "HOST:PORT"},
		{"4780", true, "HOST:PORT"},
	}
	for _, tt := range tests {
		err := checkBind(t.Context(), "--listen", tt.addr, tt.insecure)
		if tt.err == "" && err != nil || tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)) {
			t.Errorf("%s insecure=%t: got %v, want %q", tt.addr, tt.insecure, err, tt.err)
		}
	}
}

func TestNewLogger(t *testing.T) {
	var b bytes.Buffer
	log, err := newLogger(&b, "warn", "json", nil)
	if err != nil {
		t.Fatal(err)
	}
	log.Info("quiet")
	log.Warn("loud", "took", 1500*time.Millisecond)
	if s := b.String(); strings.Contains(s, "quiet") || !strings.Contains(s, `"msg":"loud","took":"1.5s"`) {
		t.Errorf("logged %s", s)
	}
	for _, bad := range [][2]string{{"verbose", "text"}, {"INFO+2", "text"}, {"info", "xml"}} {
		from := sources{"log-level": "SHARDMILL_LOG_LEVEL", "log-format": "SHARDMILL_LOG_FORMAT"}
		if _, err := newLogger(&b, bad[0], bad[1], from); err == nil || !strings.HasPrefix(err.Error(), "SHARDMILL_LOG_") {
			t.Errorf("level %q format %q: %v", bad[0], bad[1], err)
		}
	}
}
