package runtime

import (
	"fmt"
	"strings"
	"testing"
)

// Values are taken out whole, and line by line: what ends in a newline, or is a key of many lines, is written to logs that way.
func TestMaskOfLines(t *testing.T) {
	var m mask
	for _, value := range []string{"hunter2", "hunter2hunter2\n", "-----BEGIN-----\r\nabcdefgh\r\n}\r\n", "tiny"} {
		m.add([]byte(value))
	}
	for text, want := range map[string]string{
		"the value is hunter2hunter2": "the value is [secret]", "hunter2 and hunter2hunter2\n.": "[secret] and [secret].",
		"abcdefgh": "[secret]", "-----BEGIN-----": "[secret]", "} tiny": "} tiny",
	} {
		if got := m.text(text); got != want {
			t.Errorf("%q becomes %q, want %q", text, got, want)
		}
	}
}

// A value of very many lines, a chain of certificates, pushes out neither the next value nor another's lines without end.
func TestMaskAfterManyLines(t *testing.T) {
	var m mask
	chain := ""
	for n := range 2 * maxMaskedLines {
		chain += fmt.Sprintf("line number %d\n", n)
	}
	m.add([]byte(chain))
	m.add([]byte("hunter2hunter2"))
	if got := m.text("hunter2hunter2, line number 0"); got != "[secret], [secret]" {
		t.Errorf("%q is said", got)
	}
	if len(m.values) != 2+maxMaskedLines {
		t.Errorf("%d texts are kept in mind", len(m.values))
	}
}

// A value that is no text is taken out of the text that is made of what a guest writes.
func TestMaskOfBytes(t *testing.T) {
	log := newLogRing(1 << 10)
	c := newCapture(&identity{}, log, nil)
	value := "\xff\xfekey\x80material\xc3"
	c.hide([]byte(value))
	fmt.Fprintf(&c.stdout, "it is %s.\n", value)
	c.end()
	for line := range log.all(t.Context(), false, nil) {
		if line.Message != "it is [secret]." {
			t.Errorf("%q is said", line.Message)
		}
	}
	failed := FunctionError{Message: text([]byte("no " + value))}
	c.hidden.failure(&failed)
	if strings.Contains(failed.Message, "key") {
		t.Errorf("%q is said", failed.Message)
	}
}
