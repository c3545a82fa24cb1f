package runtime

import "testing"

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
