package abi

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// TestHostFunctionsAreTheLaw looks for each function of the host with its signature, and each status with its number and name, in
// abi.md, and that it has no other.
func TestHostFunctionsAreTheLaw(t *testing.T) {
	b, err := os.ReadFile("../abi.md")
	if err != nil {
		t.Fatal(err)
	}
	_, law, found := strings.Cut(string(b), "\n## 6. Functions of the host\n")
	if !found {
		t.Fatal("abi.md has no section 6")
	}
	for _, f := range HostFunctions() {
		row := fmt.Sprintf("\n| `%s` | `(%s) -> %s` | ", f.Name, f.Params, f.Result)
		if strings.Count(law, row) != 1 {
			t.Errorf("abi.md has no row %q", row)
		}
		if !strings.Contains(law, "\n**`"+f.Name+"(") {
			t.Errorf("abi.md does not describe %s", f.Name)
		}
	}
	if rows := strings.Count(law, "\n| `"); rows != len(HostFunctions()) {
		t.Errorf("abi.md has %d rows of functions, there are %d", rows, len(HostFunctions()))
	}
	for _, s := range Statuses() {
		row := fmt.Sprintf("\n| %d | %s | ", s, s)
		if strings.Count(law, row) != 1 {
			t.Errorf("abi.md has no row %q", row)
		}
	}
	if rows := strings.Count(law, "\n| -"); rows != len(Statuses()) {
		t.Errorf("abi.md has %d rows of statuses, there are %d", rows, len(Statuses()))
	}
	if s := Status(-99).String(); s != "status -99" {
		t.Errorf("a status that is not known is %q", s)
	}
}

// TestHostLimitsAreTheLaw looks for the limits of the host's functions in abi.md.
func TestHostLimitsAreTheLaw(t *testing.T) {
	b, err := os.ReadFile("../abi.md")
	if err != nil {
		t.Fatal(err)
	}
	law := strings.Join(strings.Fields(string(b)), " ")
	for phrase, holds := range map[string]bool{
		"at most 1,024 bytes of UTF-8":                    MaxHostMessageBytes == 1024,
		"the value of a secret, 1 to 65,536 bytes":        MaxSecretBytes == 65536,
		"A name has 1 to 128 bytes":                       MaxSecretNameBytes == 128,
		"imported from the module `" + ImportModule + "`": true,
	} {
		if !holds || !strings.Contains(law, phrase) {
			t.Errorf("abi.md and the code do not agree that %q", phrase)
		}
	}
}
