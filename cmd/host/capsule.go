package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/shardmill/shardmill/api"
	"github.com/shardmill/shardmill/internal/capsule"
	"github.com/shardmill/shardmill/runtime"
	"github.com/shardmill/shardmill/sdk/record"
)

const capsuleSuffix = ".capsule"

func newCapsule(a *app) *cobra.Command {
	return group("capsule", "Invocations that were kept so that they can be made again: list, get, delete",
		newCapsuleList(a), a.completing(newCapsuleGet(a), capsuleNames), a.completing(newCapsuleDelete(a), capsuleNames))
}

func capsuleNames(ctx context.Context, c *api.Client) ([]string, error) {
	list, err := c.Capsules(ctx, "")
	return namesOf(list, func(c api.Capsule) string { return c.ID }), err
}

func newCapsuleList(a *app) *cobra.Command {
	var mapping string
	c := &cobra.Command{
		Use:   "list",
		Short: "List the capsules, the newest first",
		Args:  arguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := a.client()
			if err != nil {
				return err
			}
			list, err := client.Capsules(cmd.Context(), mapping)
			if err != nil {
				return err
			}
			header := []string{"ID", "MADE", "WHY", "FUNCTION", "MAPPING", "SHARD", "RECORDS>", "OUTCOME", "SAYS"}
			return printItems(a, list, header, func(c api.Capsule) []string {
				return []string{
					c.ID, shortTime(c.Made), c.Why, fmt.Sprintf("%s v%d", c.Function, c.Version), cmp.Or(c.Mapping, "-"), cmp.Or(c.Shard, "-"),
					strconv.Itoa(c.Records), c.Outcome, printable(firstLine(c.Message)),
				}
			})
		},
	}
	c.Flags().StringVar(&mapping, "mapping", "", "only those of this mapping")
	a.completingFlag(c, "mapping", mappingNames)
	return c
}

func newCapsuleGet(a *app) *cobra.Command {
	var out string
	c := &cobra.Command{
		Use:   "get ID",
		Short: "Write a capsule to a file",
		Args:  arguments,
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := a.client()
			if err != nil {
				return err
			}
			file, err := client.Capsule(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			name := cmp.Or(out, args[0]+capsuleSuffix)
			if err := os.WriteFile(name, file, 0o644); err != nil {
				return err
			}
			if a.output == outputJSON {
				return a.printJSON(downloaded{File: name, Bytes: len(file)})
			}
			_, err = fmt.Fprintf(a.out, "wrote %s (%s)\n", name, byteSize(int64(len(file))))
			return err
		},
	}
	c.Flags().StringVarP(&out, "out", "o", "", "file to write (default: the capsule's id with .capsule)")
	return c
}

func newCapsuleDelete(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "delete ID",
		Short: "Delete a capsule",
		Args:  arguments,
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := a.client()
			if err != nil {
				return err
			}
			if err := client.DeleteCapsule(cmd.Context(), args[0]); err != nil {
				return err
			}
			return a.printDeleted("capsule", args[0])
		},
	}
}

// replayed is what `replay` shows as JSON.
type replayed struct {
	Capsule  string          `json:"capsule"`
	Same     bool            `json:"same"`     // old and new came to the same
	Diverged bool            `json:"diverged"` // the module read or asked for more than the capsule has
	Old      capsule.Outcome `json:"old"`
	New      capsule.Outcome `json:"new"`

	Unanswered []string `json:"unanswered,omitempty"` // calls of the host that the capsule has no answer to, at most 100
	Unasked    []string `json:"unasked,omitempty"`    // and those that it has, and that the module did not make
	overread   bool     // more clocks or random numbers were read
	misses     int      // calls without an answer
	left       int      // calls that were not made
}

func newReplay(a *app) *cobra.Command {
	var function string
	var secrets map[string]string
	c := &cobra.Command{
		Use:   "replay CAPSULE",
		Short: "Make an invocation again that was kept, here and without a host, and show what it came to then and now",
		Long: "Make an invocation again that was kept as a capsule: CAPSULE is a file, or the id of one on the host. It runs here,\n" +
			"with the same records, limits, clocks and random numbers. It puts nothing, and reaches neither state nor servers: what it\n" +
			"asks of them is answered as it was then. --function gives the code to run: a .wasm, .ts or .js file, or a folder with\n" +
			"its source; by default it is the version that the capsule was made with, from the host. Values of secrets are in no\n" +
			"capsule: --secret gives those that the invocation had.\n" +
			"The exit status is 0 when both came to the same, and 1 when they differ.",
		Args: arguments,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.loadCapsule(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			module, err := a.moduleFor(cmd.Context(), c, function)
			if err != nil {
				return err
			}
			o := runtime.ReplayOptions{CompileScript: compileScript, CompileModule: compileModule, FindLines: findLines()}
			if o.Secrets, err = a.secretsOf(c, secrets); err != nil {
				return err
			}
			if dir, err := os.UserCacheDir(); err == nil {
				o.CacheDir = filepath.Join(dir, "shardmill", "replay")
			}
			now, err := runtime.Replay(cmd.Context(), module, c, o)
			if err != nil {
				return err
			}
			r := replayed{
				Capsule: c.ID, Same: now.Same(&c.Again), Diverged: now.Diverged(), Old: c.Again, New: now.Outcome,
				Unanswered: now.Unanswered, Unasked: now.Unasked, overread: now.Overread, misses: now.Misses, left: now.Left,
			}
			if err := a.printReplay(c, &r); err != nil {
				return err
			}
			if !r.Same {
				return errors.New("then and now differ")
			}
			return nil
		},
	}
	c.Flags().StringVar(&function, "function", "", "module to run: a .wasm file or a folder with source (default: the capsule's own, from the host)")
	c.Flags().StringToStringVar(&secrets, "secret", nil, "NAME=FILE: a secret that the invocation had, and the file with its value; repeatable")
	return c
}

// secretsOf reads the values of the secrets that a capsule's call had. Each has to be given, because without it the call goes another way.
func (a *app) secretsOf(c *capsule.Capsule, files map[string]string) (map[string][]byte, error) {
	values := map[string][]byte{}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		value, err := a.readSecret(name, files[name])
		if err != nil {
			return nil, err
		}
		values[name] = value
	}
	for _, name := range c.During.Secrets {
		if _, given := values[name]; !given {
			return nil, usagef("the invocation had secret %q, whose value is in no capsule; give it with --secret %s=FILE", name, name)
		}
	}
	return values, nil
}

// loadCapsule reads a capsule from a file, or from the host.
func (a *app) loadCapsule(ctx context.Context, name string) (*capsule.Capsule, error) {
	file, err := os.ReadFile(name)
	if errors.Is(err, os.ErrNotExist) && !strings.ContainsAny(name, "./\\") {
		var client *api.Client
		if client, err = a.client(); err != nil {
			return nil, err
		}
		file, err = client.Capsule(ctx, name)
	}
	if err != nil {
		return nil, err
	}
	c, err := capsule.Decode(file)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return c, nil
}

// moduleFor is the module to replay a capsule with.
func (a *app) moduleFor(ctx context.Context, c *capsule.Capsule, function string) ([]byte, error) {
	if function != "" {
		module, _, err := loadFunction(ctx, function)
		return module, err
	}
	client, err := a.client()
	if err != nil {
		return nil, err
	}
	code, err := client.Code(ctx, c.Function, c.Version)
	if err != nil {
		return nil, err
	}
	if code.Digest != c.Digest {
		return nil, fmt.Errorf("version %d of function %q is another than the capsule's (%s); give the module with --function", c.Version, c.Function, c.Digest)
	}
	return code.Bytes, nil
}

// printReplay shows two outcomes side by side.
func (a *app) printReplay(c *capsule.Capsule, r *replayed) error {
	if a.output == outputJSON {
		return a.printJSON(r)
	}
	t := newTable("", "THEN", "NOW")
	row := func(name, then, now string) {
		if then != "" || now != "" {
			t.add(name, then, now)
		}
	}
	row("outcome", r.Old.Kind, r.New.Kind)
	row("message", printable(firstLine(r.Old.Message)), printable(firstLine(r.New.Message)))
	row("took", shortDuration(durationOf(&r.Old)), shortDuration(durationOf(&r.New)))
	row("memory", byteSize(r.Old.MemoryPeak), byteSize(r.New.MemoryPeak))
	row("answer", shown(r.Old.Body), shown(r.New.Body))
	row("state", shown(r.Old.State), shown(r.New.State))
	for i := range max(len(r.Old.Records), len(r.New.Records)) {
		row("record", recordShown(r.Old.Records, i), recordShown(r.New.Records, i))
	}
	then, now := outputsShown(r.Old.Outputs), outputsShown(r.New.Outputs)
	for i := range max(len(then), len(now)) {
		row("output "+strconv.Itoa(i+1), at(then, i), at(now, i))
	}
	if err := t.write(a.out); err != nil {
		return err
	}
	if _, err := fmt.Fprintf(a.out, "\n%s\n", verdictOn(c, r)); err != nil || r.New.Stack == "" || r.New.Kind == "ok" {
		return err
	}
	_, err := fmt.Fprintf(a.out, "\n%s\n", strings.TrimRight(r.New.Stack, "\n"))
	return err
}

// verdictOn says in words how two outcomes compare, and what is to be known of it.
func verdictOn(c *capsule.Capsule, r *replayed) string {
	verdict := "Both came to the same."
	if !r.Same {
		verdict = "They differ."
	}
	if r.overread {
		verdict += " The module read more clocks or random numbers than the capsule has; from there on it had this machine's."
	}
	if !c.Reproduced {
		verdict += " THEN is what the call came to when it was made again right after: the call itself came to " + c.Result.Kind + "."
	}
	return verdict + callsShown("asked the host for what the capsule has no answer to, and was told that it is not available", r.Unanswered, r.misses) +
		callsShown("did not ask the host for what the capsule has answers to", r.Unasked, r.left)
}

// callsShown lists the first of n calls of the host.
func callsShown(what string, list []string, n int) string {
	const most = 10
	if n == 0 {
		return ""
	}
	text := "\n\nThe module " + what + ":"
	for _, call := range list[:min(len(list), most)] {
		text += "\n  " + printable(call)
	}
	if n > most {
		text += "\n  and " + thousands(int64(n-most)) + " more"
	}
	return text
}

func durationOf(o *capsule.Outcome) time.Duration { return time.Duration(o.DurationNs) }

func at(list []string, i int) string {
	if i < len(list) {
		return list[i]
	}
	return "-"
}

func recordShown(list []capsule.RecordResult, i int) string {
	if i >= len(list) {
		return "-"
	}
	return strings.TrimSpace(fmt.Sprintf("%d %s %s", list[i].Index, list[i].Result, printable(list[i].Reason)))
}

// outputsShown is a line for each record that was put.
func outputsShown(outputs []capsule.Output) (lines []string) {
	for _, o := range outputs {
		for r := range record.Batch(o.Records).Run().All() {
			lines = append(lines, fmt.Sprintf("%s %s %s", o.Stream, printable(string(r.Key)), shown(r.Data)))
		}
	}
	return lines
}

// shown is data as it fits in a column.
func shown(data []byte) string {
	const most = 60
	if !utf8.Valid(data) {
		return fmt.Sprintf("%d bytes", len(data))
	}
	text := printable(string(bytes.TrimSpace(data)))
	if len(text) > most {
		return fmt.Sprintf("%s… (%d bytes)", strings.ToValidUTF8(text[:most], ""), len(data))
	}
	return text
}
