package destination

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/shardmill/shardmill/internal/field"
)

func TestParse(t *testing.T) {
	t.Parallel()
	for uri, want := range map[string]struct{ scheme, name, prefix, shown string }{
		"stream:failed":                   {"stream", "failed", "", "stream:failed"},
		"stream:a.b_c-d":                  {"stream", "a.b_c-d", "", "stream:a.b_c-d"},
		"s3://bucket":                     {"s3", "bucket", "", "s3://bucket/"},
		"s3://bucket/":                    {"s3", "bucket", "", "s3://bucket/"},
		"s3://my.bucket-1/a/b":            {"s3", "my.bucket-1", "a/b/", "s3://my.bucket-1/a/b/"},
		"s3://bucket/year=2026/":          {"s3", "bucket", "year=2026/", "s3://bucket/year=2026/"},
		"file:///var/failed":              {"file", "/var/failed", "", "file:///var/failed"},
		"file:///var/../etc//x/":          {"file", "/etc/x", "", "file:///etc/x"},
		"file:///":                        {"file", "/", "", "file:///"},
		"file:///with%20space":            {"file", "/with space", "", "file:///with%20space"},
		"http://host":                     {"http", "", "", "http://host"},
		"https://host:8443/path?token=me": {"https", "", "", "https://host:8443/path"},
		"https://[2001:db8::1]/x":         {"https", "", "", "https://[2001:db8::1]/x"},
	} {
		got, err := parse(uri)
		if err != nil {
			t.Errorf("%s: %v", uri, err)
			continue
		}
		if got.scheme != want.scheme || got.name != want.name || got.prefix != want.prefix || got.shown() != want.shown {
			t.Errorf("%s: %+v, shown as %s", uri, got, got.shown())
		}
	}
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	for uri, says := range map[string]string{
		"":                                "it must be stream:NAME, s3://",
		"failed":                          "it must be stream:NAME, s3://",
		"ftp://host/":                     "it must be stream:NAME, s3://",
		"S3://bucket":                     "it must be stream:NAME, s3://",
		"arn:aws:s3:::bucket":             "it must be stream:NAME, s3://",
		"stream:":                         "it must be stream:NAME",
		"stream://failed":                 "it must be stream:NAME",
		"s3:bucket":                       "s3://bucket",
		"s3://":                           "s3://bucket",
		"s3:///prefix":                    "s3://bucket",
		"s3://ab":                         "bucket's name",
		"s3://Bucket":                     "bucket's name",
		"s3://bucket.":                    "bucket's name",
		"s3://a..b":                       "bucket's name",
		"s3://169.254.169.254":            "bucket's name",
		"s3://user@bucket/":               "bucket's name",
		"s3://host:80/":                   "bucket's name",
		"s3://bucket?x":                   "bucket's name",
		"s3://" + strings.Repeat("a", 64): "bucket's name",
		"s3://bucket/a//b":                "empty parts",
		"s3://bucket/../b":                "empty parts",
		"s3://bucket/a b":                 "a prefix of",
		"s3://bucket/a%2e":                "a prefix of",
		"s3://bucket/" + strings.Repeat("a", 512): "a prefix of",
		"file:relative":             "three slashes",
		"file://host/folder":        "three slashes",
		"file:///folder?x":          "three slashes",
		"file:///a%00b":             "absolute path",
		"file:":                     "absolute path",
		"http:///path":              "a URL such as",
		"http:host":                 "a URL such as",
		"https://ho st/":            "a URL such as",
		"http://[fe80::1%25eth0]/":  "a URL such as",
		"https://host/#part":        "a URL such as",
		"https://user:secret@host/": "without a user and password",
		"https://host/" + strings.Repeat("a", 2048): "at most 2048 bytes",
	} {
		_, err := parse(uri)
		if refused := (*field.Error)(nil); !errors.As(err, &refused) || refused.Field != Field || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v; want a refusal that says %q", uri, err, says)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: the refusal repeats the password: %v", uri, err)
		}
	}
}

// Whatever a URI says: what comes of it names a bucket or a path and nothing more, and shows no secret.
func FuzzParse(f *testing.F) {
	for _, uri := range []string{"stream:a", "s3://bucket/a/b/", "https://u:p@host:1/x?y#z", "file:///a/../b", "http://[::1%25eth0]/", "s3://a.b/..", "https://\x00"} {
		f.Add(uri)
	}
	f.Fuzz(func(t *testing.T, uri string) {
		got, err := parse(uri)
		if err != nil {
			if refused := (*field.Error)(nil); !errors.As(err, &refused) {
				t.Fatal(err)
			}
			return
		}
		switch got.scheme {
		case schemeS3:
			if strings.ContainsAny(got.name, "/:@?#%") || strings.Contains("/"+got.prefix, "/../") || strings.Contains(got.prefix, "//") {
				t.Fatalf("%q became %+v", uri, got)
			}
		case schemeFile:
			if !filepath.IsAbs(got.name) || filepath.Clean(got.name) != got.name || strings.Contains(got.name, "\x00") {
				t.Fatalf("%q became %+v", uri, got)
			}
		case schemeHTTP, schemeHTTPS:
			if got.url.User != nil || got.url.Hostname() == "" || strings.ContainsAny(got.shown(), "?#") {
				t.Fatalf("%q became %+v", uri, got.url)
			}
		}
		if again, err := parse(got.shown()); err != nil {
			t.Fatalf("%q is shown as %q: %v", uri, got.shown(), err)
		} else if again.shown() != got.shown() {
			t.Fatalf("%q is shown as %q, and that as %q", uri, got.shown(), again.shown())
		}
	})
}
