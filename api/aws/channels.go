package aws

// Channels deliver a stream to S3 or to S3 Tables inside the service. There is no such delivery behind this surface, so that
// none can be made: an application that was told "ACTIVE" would wait for objects that never come. What lists and finds channels
// says that there are none.

type createChannelInput struct {
	ChannelName             string `aws:"required;len=1..128;pattern=name"`
	ServiceExecutionRoleARN string `aws:"required;len=1..2048"`
	StreamConfigurationList []struct {
		StreamARN string `aws:"len=1..2048;pattern=stream"`
	} `aws:"required"`
}

func createChannel(*call, *createChannelInput) (any, error) {
	return nil, unsupported("Channels are not supported: nothing delivers a stream to Amazon S3 or S3 Tables here. " +
		"Map the stream to a function that writes where you want it.")
}

type channelRef struct {
	ChannelARN string `aws:"required;len=1..2048"`
}

func (c *call) noChannel(in *channelRef) (any, error) {
	return nil, faultf(codeNotFound, "Channel %s under account %s not found.", in.ChannelARN, c.account)
}

func describeChannel(c *call, in *channelRef) (any, error) { return c.noChannel(in) }

func updateChannel(c *call, in *channelRef) (any, error) { return c.noChannel(in) }

func deleteChannel(c *call, in *channelRef) (any, error) { return c.noChannel(in) }

type listChannelsInput struct {
	MaxResults int    `aws:"range=1..10000"`
	NextToken  string `aws:"len=1..1048576"`
}

type listChannelsOutput struct{ ChannelSummaries []struct{} }

func listChannels(*call, *listChannelsInput) (any, error) {
	return listChannelsOutput{ChannelSummaries: []struct{}{}}, nil
}
