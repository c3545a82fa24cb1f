package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/shardmill/shardmill/api"
	"github.com/shardmill/shardmill/internal/field"
)

// invokeConfig is the command line of function invoke.
type invokeConfig struct {
	file      string
	version   int
	alias     string
	transform bool
	key       string
}

func newFunctionInvoke(a *app) *cobra.Command {
	var config invokeConfig
	c := &cobra.Command{
		Use:   "invoke NAME [BODY]",
		Short: "Call a function with a body and write what it answers to standard output",
		Long: "Call a function with a body and write what it answers to standard output. With --transform the lines of the body are\n" +
			"records on their way to a destination, as a delivery stream hands them over; what the function makes of them is written one\n" +
			"a line, and what is dropped or rejected is told on standard error.",
		Example: "  shardmill function invoke greet '{\"name\":\"Ada\"}'\n" +
			"  shardmill function invoke clean --transform --file events.ndjson --key user",
		Args: arguments,
		RunE: func(cmd *cobra.Command, args []string) error {
			qualifier, err := config.qualifier()
			if err != nil {
				return err
			}
			client, err := a.client()
			if err != nil {
				return err
			}
			body, err := a.readInvokeBody(config.file, args[1:])
			if err != nil {
				return err
			}
			if config.transform {
				return a.transform(cmd.Context(), client, args[0], qualifier, config.key, body)
			}
			answer, err := client.Invoke(cmd.Context(), args[0], qualifier, body)
			if err != nil {
				return err
			}
			out := answer.Body
			if _, err := a.out.Write(out); err != nil {
				return err
			}
			if a.outTerminal && len(out) > 0 && out[len(out)-1] != '\n' {
				_, err = fmt.Fprintln(a.out)
			}
			return err
		},
	}
	c.Flags().StringVar(&config.file, "file", "", "read the body from a file; - is standard input")
	countFlag(c.Flags(), &config.version, "version", "1 or more", "which version to call (default: the newest)")
	c.Flags().StringVar(&config.alias, "alias", "", "the alias that says which version to call")
	c.Flags().BoolVar(&config.transform, "transform", false, "call the function's transform handler with the lines of the body as records")
	c.Flags().StringVar(&config.key, "key", "", "with --transform: field of each line that is its partition key, or a JSON pointer (default: the line's number)")
	return c
}

// qualifier is the version or alias to call, "" for the newest.
func (c *invokeConfig) qualifier() (string, error) {
	switch {
	case c.key != "" && !c.transform:
		return "", usagef("--key goes with --transform")
	case c.version != 0 && c.alias != "":
		return "", usagef("give --version or --alias, not both")
	case c.version != 0:
		return strconv.Itoa(c.version), nil
	}
	return c.alias, nil
}

// readInvokeBody reads what the function is called with: the argument, or a file.
func (a *app) readInvokeBody(file string, args []string) ([]byte, error) {
	switch {
	case file != "" && len(args) > 0:
		return nil, usagef("give BODY or --file, not both")
	case len(args) > 0:
		return []byte(args[0]), nil
	case file == "":
		return nil, nil
	}
	in, _, err := a.openInput(file)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	return io.ReadAll(in)
}

// transform has a function transform the lines of a body.
func (a *app) transform(ctx context.Context, client *api.Client, name, qualifier, key string, body []byte) error {
	var records []api.PutRecord
	number := 0
	for line := range bytes.Lines(body) {
		number++
		if line = bytes.TrimRight(line, "\r\n"); len(line) == 0 {
			continue
		}
		r := api.PutRecord{PartitionKey: strconv.Itoa(number), Data: line}
		if key != "" {
			var err error
			if r.PartitionKey, err = keyAt(line, keyPointer(key)); err != nil {
				return fmt.Errorf("line %d: %w", number, err)
			}
		}
		records = append(records, r)
	}
	t, err := client.Transform(ctx, name, qualifier, records)
	if err != nil {
		return err
	}
	return a.printTransformed(t)
}

// keyAt is the text at a JSON pointer of a line.
func keyAt(line []byte, pointer string) (string, error) {
	decoder := json.NewDecoder(bytes.NewReader(line))
	decoder.UseNumber()
	var v any
	if err := decoder.Decode(&v); err != nil {
		return "", fmt.Errorf("it is not valid JSON: %w", err)
	}
	for token := range strings.SplitSeq(strings.TrimPrefix(pointer, "/"), "/") {
		members, _ := v.(map[string]any)
		v = members[strings.NewReplacer("~1", "/", "~0", "~").Replace(token)]
	}
	switch v := v.(type) {
	case string:
		return v, nil
	case json.Number, bool:
		return fmt.Sprint(v), nil
	}
	return "", field.Invalid("--key", pointer, "where each line has a string, a number, true or false")
}

func (a *app) printTransformed(t api.Transformed) error {
	counts := map[string]int64{}
	for i, r := range t.Records {
		counts[r.Result]++
		if a.output == outputJSON {
			if err := a.printJSON(r); err != nil {
				return err
			}
			continue
		}
		for _, out := range r.Records {
			if _, err := fmt.Fprintln(a.out, recordText(&api.Record{JSON: out.JSON, Text: out.Text, Data: out.Data})); err != nil {
				return err
			}
		}
		if len(r.Records) == 0 {
			a.say("%s", because(fmt.Sprintf("record %d was %s", i+1, r.Result), r.Reason))
		}
	}
	if a.output != outputJSON {
		a.say("%s on, %s dropped, %s rejected", plural(counts["ok"], "record goes", "records go"), thousands(counts["dropped"]), thousands(counts["rejected"]))
	}
	return nil
}
