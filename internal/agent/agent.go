package agent

import (
	"cmp"
	"context"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

// reportEvery is how often the totals are logged.
const reportEvery = time.Minute

// Options of Open.
type Options struct {
	Config Config
	// Endpoint is the URL for flows whose kind has none in the configuration.
	Endpoint string
	// Override makes Endpoint that of all flows.
	Override bool
	// LookupEnv finds AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN and AWS_REGION; nil = none is set. Without a key
	// here or in the configuration, requests are not signed.
	LookupEnv func(string) (string, bool)
	HTTP      *http.Client // nil = one of our own
	Logger    *slog.Logger // nil = none
}

// Agent follows files until it is closed.
type Agent struct {
	config    Config
	log       *slog.Logger
	positions *positions
	counts    []*counts
	transport *http.Transport // what Close closes

	stopReading, stopSending, stopKeeping context.CancelFunc
	followers, senders, others            sync.WaitGroup
}

// Open starts the flows. Errors: ErrLocked, ErrForeign, of endpoints and of the checkpoint file.
func Open(o Options) (*Agent, error) {
	a := &Agent{config: o.Config, log: o.Logger}
	if a.log == nil {
		a.log = slog.New(slog.DiscardHandler)
	}
	if o.LookupEnv == nil {
		o.LookupEnv = func(string) (string, bool) { return "", false }
	}
	if o.HTTP == nil {
		a.transport = http.DefaultTransport.(*http.Transport).Clone()
		a.transport.MaxIdleConnsPerHost = o.Config.MaxSending
		o.HTTP = &http.Client{Transport: a.transport}
	}
	kinesis, err := newService(&o, false)
	if err != nil {
		return nil, err
	}
	firehose, err := newService(&o, true)
	if err != nil {
		return nil, err
	}
	if a.positions, err = openPositions(o.Config.CheckpointFile, o.Config.CheckpointTTL); err != nil {
		return nil, err
	}
	if len(o.Config.Ignored) > 0 {
		a.log.Warn("these settings mean nothing here", "settings", o.Config.Ignored)
	}
	a.start(func(f *Flow) putter {
		if f.Firehose {
			return firehose
		}
		return kinesis
	})
	return a, nil
}

// newService is where flows of one kind are put.
func newService(o *Options, delivery bool) (*service, error) {
	env := func(name string) string { v, _ := o.LookupEnv(name); return v }
	s := &service{http: o.HTTP, name: "kinesis", target: "Kinesis_20131202.PutRecords", agent: cmp.Or(o.Config.UserAgent, "shardmill-agent"), signer: v4.NewSigner()}
	endpoint := o.Config.KinesisEndpoint
	if delivery {
		s.name, s.target, endpoint = "firehose", "Firehose_20150804.PutRecordBatch", o.Config.FirehoseEndpoint
	}
	if endpoint == "" || o.Override {
		endpoint = o.Endpoint
	}
	var err error
	if s.url, err = endpointURL(endpoint); err != nil {
		return nil, err
	}
	s.region = o.Config.Region
	if found := regionOfHost.FindStringSubmatch(s.url); s.region == "" && found != nil {
		s.region = found[1]
	}
	s.region = cmp.Or(s.region, env("AWS_REGION"), env("AWS_DEFAULT_REGION"), "us-east-1")
	s.credentials = aws.Credentials{AccessKeyID: o.Config.AccessKey, SecretAccessKey: o.Config.SecretKey}
	if !s.credentials.HasKeys() {
		s.credentials = aws.Credentials{
			AccessKeyID: env("AWS_ACCESS_KEY_ID"), SecretAccessKey: env("AWS_SECRET_ACCESS_KEY"), SessionToken: env("AWS_SESSION_TOKEN"),
		}
	}
	return s, nil
}

// start starts the goroutines.
func (a *Agent) start(service func(*Flow) putter) {
	var reading, sending, keeping context.Context
	reading, a.stopReading = context.WithCancel(context.Background())
	sending, a.stopSending = context.WithCancel(context.Background())
	keeping, a.stopKeeping = context.WithCancel(context.Background())
	slots := make(chan struct{}, a.config.MaxSending)
	for i := range a.config.Flows {
		flow := &a.config.Flows[i]
		n := &counts{}
		a.counts = append(a.counts, n)
		log := a.log.With("flow", flow.Name())
		buffers := make(chan *buffer)
		f := &follower{flow: flow, positions: a.positions, log: log, counts: n, out: buffers}
		s := &sender{flow: flow, service: service(flow), positions: a.positions, log: log, counts: n, slots: slots}
		a.followers.Go(func() { f.run(reading) })
		a.senders.Go(func() { s.run(sending, buffers) })
	}
	a.others.Go(func() { a.positions.keep(keeping, a.saveFailed()) })
	a.others.Go(func() { a.report(keeping) })
}

// saveFailed logs the first of failures in a row, and the success after them.
func (a *Agent) saveFailed() func(error) {
	failing := false
	return func(err error) {
		switch {
		case err != nil && !failing:
			a.log.Error("the positions could not be saved; this is tried again", "error", err)
		case err == nil && failing:
			a.log.Info("the positions are saved again")
		}
		failing = err != nil
	}
}

// report is the goroutine that logs the totals.
func (a *Agent) report(ctx context.Context) {
	tick := time.NewTicker(reportEvery)
	defer tick.Stop()
	for await(ctx, tick.C) {
		a.logTotals()
	}
}

func (a *Agent) logTotals() {
	for i, n := range a.counts {
		a.log.Info("totals", append([]any{"flow", a.config.Flows[i].Name()}, n.list()...)...)
	}
}

// Close stops reading at once, gives what was read the configuration's time to be put, or until ctx is done, and saves the positions.
// What was not put in that time is in the files still, and is read at the next start. Error: of saving the positions.
func (a *Agent) Close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, a.config.Shutdown)
	defer cancel()
	stop := context.AfterFunc(ctx, a.stopSending)
	defer stop()
	a.stopReading()
	a.followers.Wait()
	a.senders.Wait()
	a.stopSending()
	a.stopKeeping()
	a.others.Wait()
	a.logTotals()
	if a.transport != nil {
		a.transport.CloseIdleConnections()
	}
	return a.positions.close()
}
