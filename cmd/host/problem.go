package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/shardmill/shardmill/api"
	"github.com/shardmill/shardmill/internal/field"
)

// adviceFor says, by the kind of a problem, what to do about it with this program: the API's own advice is about HTTP.
var adviceFor = map[api.Kind]string{
	api.KindStreamNotFound:     `"shardmill stream list" shows those there are`,
	api.KindShardNotFound:      `"shardmill stream describe" shows a stream's shards`,
	api.KindFunctionNotFound:   `"shardmill function list" shows those there are`,
	api.KindUntrusted:          `sign it with --sign and a key that the host trusts`,
	api.KindVersionNotFound:    `"shardmill function describe" shows a function's versions`,
	api.KindAliasNotFound:      `"shardmill function describe" shows a function's aliases`,
	api.KindInvocationNotFound: `"shardmill function invocations" shows those that are kept`,
	api.KindCapsuleNotFound:    `"shardmill capsule list" shows those there are`,
	api.KindMappingNotFound:    `"shardmill mapping list" shows those there are`,
	api.KindSecretNotFound:     `"shardmill secret list" shows those there are`,
	api.KindTableNotFound:      `"shardmill state list" shows those there are`,
	api.KindEntryNotFound:      `"shardmill state list TABLE" shows those there are`,
	api.KindConflict:           `"shardmill stream describe" shows what there is`,
	api.KindShadowNotFound:     `"shardmill mapping shadow set" makes one`,
	api.KindInUse:              `change or delete what needs it first; what only a mapping needs can be deleted with --force`,
	api.KindThrottled:          `try again in a moment, deploy it with a larger --concurrency, or raise what "shardmill function reserve" has bounded`,
	api.KindNothingReserved:    `"shardmill function reserve" does that`,
	api.KindDamaged:            `"shardmill stream damage list" names what is damaged, and "shardmill stream damage accept" gives it up`,
	api.KindStateFull:          `delete entries ("shardmill state delete TABLE KEY"), or start the host with a larger --state-table-limit or --state-limit`,
	api.KindNoSpace:            `delete a stream or a function, shorten a retention with "shardmill stream update", or make space on the host's disk, or mend it; then try again`,
	api.KindTooManyFiles:       `delete streams, or start the host with a higher limit of open files (ulimit -n, LimitNOFILE)`,
	api.KindStopping:           `try again when the host is back`,
	api.KindInternal:           `the host's log says more`,
}

// sentence is an error as the one line that a person reads. Errors that carry a tool's own output (a compiler's, say) hold it after the
// first line and keep it.
func (a *app) sentence(err error) string {
	if detailed := (*buildError)(nil); errors.As(err, &detailed) {
		return strings.TrimRight(err.Error(), "\n")
	}
	text := oneLine(err)
	if p := (*api.Problem)(nil); errors.As(err, &p) {
		own := oneLine(p)
		text = strings.Replace(text, own, problemSentence(p), 1)
	}
	if file := (*fs.PathError)(nil); errors.As(err, &file) {
		text = strings.Replace(text, oneLine(file), file.Path+": "+file.Err.Error(), 1)
	}
	if op := (*net.OpError)(nil); errors.As(err, &op) && op.Op == "dial" {
		text += "; is a host running at " + a.endpoint + `? "shardmill serve" starts one`
	}
	return text
}

// problemSentence is a problem with this program's advice in place of the API's.
func problemSentence(p *api.Problem) string {
	text := oneLine(p)
	if advice, ok := adviceFor[p.Kind()]; ok && p.Reason != "" {
		switch text = strings.TrimRight(p.Reason, "."); {
		case p.Kind() == api.KindConflict && strings.HasPrefix(p.Instance, "/v1/mappings/"): // says what to do
		case p.Kind() == api.KindConflict && strings.HasPrefix(p.Instance, "/v1/state/"):
			text += `; "shardmill state list TABLE --output json" shows the revisions`
		case p.Kind() == api.KindConflict && strings.HasPrefix(p.Instance, "/v1/functions/"):
			text += `; "shardmill function describe" shows what serves now`
		default:
			text += "; " + advice
		}
	}
	if p.Function != nil {
		text = fmt.Sprintf("%s; \"shardmill function logs %s\" shows what it wrote", strings.TrimRight(p.Reason, "."), p.Function.Name)
	}
	return strings.TrimRight(text, ".") + putSoFar(p)
}

// stack is the stack of a function's own failure, "" when there is none.
func stack(err error) string {
	if p := (*api.Problem)(nil); errors.As(err, &p) && p.Function != nil && p.Function.Stack != "" {
		return strings.TrimRight(p.Function.Stack, "\n") + "\n"
	}
	return ""
}

// putSoFar says what is known of the lines of a put that ended early.
func putSoFar(p *api.Problem) string {
	if p.Put == nil || p.Put.UndecidedFrom == 0 {
		return ""
	}
	refused := ""
	if p.Put.Failed > 0 {
		refused = fmt.Sprintf(", %s refused", thousands(p.Put.Failed))
	}
	return fmt.Sprintf(". %s on disk%s; send the lines from line %s on again (\"tail -n +%d\" gives them)",
		plural(p.Put.Put, "record is", "records are"), refused, thousands(p.Put.UndecidedFrom), p.Put.UndecidedFrom)
}

// plural is a number with the word that fits it.
func plural(n int64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return thousands(n) + " " + many
}

// oneLine is an error's text on one line.
func oneLine(err error) string { return strings.Join(strings.Fields(err.Error()), " ") }

// flagError puts what is wrong with a flag into a sentence.
func flagError(cmd *cobra.Command, err error) error {
	var unknown *pflag.NotExistError
	var empty *pflag.ValueRequiredError
	var refused *pflag.InvalidValueError
	switch {
	case errors.As(err, &unknown):
		return usagef("%s has no flag %s", cmd.CommandPath(), flagName(unknown.GetSpecifiedName()))
	case errors.As(err, &empty):
		return usagef("%s needs a value", flagName(empty.GetSpecifiedName()))
	case errors.As(err, &refused):
		return usagef("--%s is %s; it must be %s", refused.GetFlag().Name, field.Shown(refused.GetValue()), flagForm(refused))
	}
	return usageError{err.Error()}
}

func flagName(name string) string {
	if len(name) == 1 {
		return "-" + name
	}
	return "--" + name
}

// flagForm is what a flag may be: the types of this program say it themselves.
func flagForm(e *pflag.InvalidValueError) string {
	if kind := fmt.Sprintf("%T", e.GetFlag().Value); !strings.HasPrefix(kind, "*pflag.") {
		return e.Unwrap().Error()
	}
	switch e.GetFlag().Value.Type() {
	case "bool":
		return "true or false"
	case "duration":
		return "a duration with its unit, such as 500ms, 3s or 1h"
	case "stringToString":
		for _, word := range strings.Fields(e.GetFlag().Usage) {
			if strings.Contains(word, "=") { // as in "tag of the stream, KEY=VALUE; repeatable"
				return strings.Trim(word, ",;:")
			}
		}
		return "KEY=VALUE"
	}
	return "a whole number"
}

// arguments takes as many arguments as a command's synopsis names; those in brackets can be left out.
func arguments(cmd *cobra.Command, args []string) error {
	names := strings.Fields(cmd.Use)[1:]
	least := len(slices.DeleteFunc(slices.Clone(names), func(name string) bool { return strings.HasPrefix(name, "[") }))
	switch {
	case len(args) < least:
		return usagef("%s needs %s: %s", cmd.CommandPath(), names[len(args)], cmd.UseLine())
	case len(args) > len(names):
		return usagef("%s takes no argument %q: %s", cmd.CommandPath(), args[len(names)], cmd.UseLine())
	}
	for i, arg := range args { // what a variable that is not set comes to: an empty KEY must not be none
		if name := strings.Trim(names[i], "[]"); arg == "" && name != "BODY" && name != "VALUE" {
			return usagef("%s is empty: %s", name, cmd.UseLine())
		}
	}
	return nil
}
