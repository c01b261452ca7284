package server

import (
	"context"
	"fmt"
	"math"
	"time"
	"unicode/utf8"

	"github.com/mark3labs/mcp-go/mcp"
	mcpserver "github.com/mark3labs/mcp-go/server"
)

// JobInfo is what job_status tells of a job.
type JobInfo struct {
	JobID       string  `json:"job_id"`
	ProfileID   string  `json:"profile_id"`
	Command     string  `json:"command"`
	State       string  `json:"state" jsonschema:"queued (waits for a slot), running, done (the command has ended, see exit_code), cancelled or failed (see error)"`
	CreatedAt   string  `json:"created_at" jsonschema:"RFC 3339"`
	EndedAt     string  `json:"ended_at,omitempty" jsonschema:"RFC 3339"`
	RunningS    float64 `json:"running_s" jsonschema:"seconds since the command was admitted, until its end"`
	ExitCode    *int    `json:"exit_code,omitempty" jsonschema:"exit status of the command, once it is known; -1 when a signal ended it"`
	Signal      string  `json:"signal,omitempty" jsonschema:"name of the signal that ended the command, without SIG"`
	SessionID   string  `json:"session_id,omitempty" jsonschema:"names the SSH connection that carried the command"`
	ErrorCode   Code    `json:"error_code,omitempty" jsonschema:"why the job failed, as ssh_exec would have said"`
	Error       string  `json:"error,omitempty"`
	StdoutBytes int64   `json:"stdout_bytes" jsonschema:"bytes that came so far"`
	StderrBytes int64   `json:"stderr_bytes" jsonschema:"bytes that came so far"`
	Timing      *Timing `json:"timing,omitempty" jsonschema:"where the time of the job went, once it has ended"`
}

// JobStatusData is what job_status answers.
type JobStatusData struct {
	Jobs []JobInfo `json:"jobs" jsonschema:"the job asked for, or all of the caller's, the oldest first"`
}

// JobOutputData is what job_output answers.
type JobOutputData struct {
	JobID       string `json:"job_id"`
	Stream      string `json:"stream"`
	Text        string `json:"text"`
	Base64      string `json:"base64,omitempty" jsonschema:"exact bytes of text, where it is not valid UTF-8"`
	Offset      int64  `json:"offset" jsonschema:"where text begins in the stream; after the offset asked for where older bytes are no longer kept"`
	NextOffset  int64  `json:"next_offset" jsonschema:"offset for the next call"`
	FirstOffset int64  `json:"first_offset" jsonschema:"offset of the oldest byte that is kept"`
	TotalBytes  int64  `json:"total_bytes" jsonschema:"bytes that came so far"`
	EOF         bool   `json:"eof" jsonschema:"the job has ended, and this is the end of the stream"`
	State       string `json:"state" jsonschema:"of the job, as job_status names it"`
}

// JobCancelData is what job_cancel answers.
type JobCancelData struct {
	JobInfo
	DryRun bool `json:"dry_run,omitempty" jsonschema:"nothing was stopped"`
}

// Limits of job_output's parameters.
const (
	defaultPage = 64 << 10
	maxPage     = 1 << 20
	maxJobWait  = 30.0
)

func (s *Server) jobTools() []mcpserver.ServerTool {
	s.metrics.Declare("ssh.job")
	return []mcpserver.ServerTool{s.jobStatusTool(), s.jobOutputTool(), s.jobCancelTool()}
}

func (s *Server) jobStatusTool() mcpserver.ServerTool {
	return mcpserver.ServerTool{
		Tool: mcp.NewTool("job_status",
			mcp.WithDescription("Show how a background job of yours is doing, or list all of them."),
			mcp.WithString("job_id", mcp.Description("as ssh_exec named it; left out, all jobs of the caller")),
			mcp.WithString("caller", mcp.Description("who is asking; recorded, not verified")),
			mcp.WithOutputSchema[Envelope[JobStatusData]](),
			mcp.WithReadOnlyHintAnnotation(true), mcp.WithDestructiveHintAnnotation(false),
			mcp.WithIdempotentHintAnnotation(true), mcp.WithOpenWorldHintAnnotation(false),
		),
		Handler: handle(s, "job.status", jobStatus),
	}
}

func (s *Server) jobOutputTool() mcpserver.ServerTool {
	return mcpserver.ServerTool{
		Tool: mcp.NewTool("job_output",
			mcp.WithDescription("Read the output of a background job, page by page, also while it runs. Go on with next_offset until eof."),
			mcp.WithString("job_id", mcp.Required(), mcp.Description("as ssh_exec named it")),
			mcp.WithString("stream", mcp.Description("which output"), mcp.Enum("stdout", "stderr"), mcp.DefaultString("stdout")),
			mcp.WithInteger("offset", mcp.Description("byte of the stream to begin at"), mcp.DefaultNumber(0), mcp.Min(0)),
			mcp.WithInteger("limit", mcp.Description("bytes to give at most"), mcp.DefaultNumber(defaultPage), mcp.Min(utf8.UTFMax), mcp.Max(maxPage)),
			mcp.WithNumber("wait_seconds", mcp.Description("where nothing is there yet, wait this long for more, or for the end"),
				mcp.DefaultNumber(0), mcp.Min(0), mcp.Max(maxJobWait)),
			mcp.WithString("caller", mcp.Description("who is asking; recorded, not verified")),
			mcp.WithOutputSchema[Envelope[JobOutputData]](),
			mcp.WithReadOnlyHintAnnotation(true), mcp.WithDestructiveHintAnnotation(false),
			mcp.WithIdempotentHintAnnotation(true), mcp.WithOpenWorldHintAnnotation(false),
		),
		Handler: handle(s, "job.output", jobOutput),
	}
}

func (s *Server) jobCancelTool() mcpserver.ServerTool {
	return mcpserver.ServerTool{
		Tool: mcp.NewTool("job_cancel",
			mcp.WithDescription("Stop a background job of yours: its command is sent TERM, then KILL. Answers once it has ended. Its output stays."),
			mcp.WithString("job_id", mcp.Required(), mcp.Description("as ssh_exec named it")),
			mcp.WithBoolean("dry_run", mcp.Description("find the job, stop nothing"), mcp.DefaultBool(false)),
			mcp.WithString("caller", mcp.Description("who is asking; recorded, not verified")),
			mcp.WithOutputSchema[Envelope[JobCancelData]](),
			mcp.WithReadOnlyHintAnnotation(false), mcp.WithDestructiveHintAnnotation(true),
			mcp.WithIdempotentHintAnnotation(true), mcp.WithOpenWorldHintAnnotation(true),
		),
		Handler: handle(s, "job.cancel", cancelJob),
	}
}

// ownJob finds a job of the caller's. Those of others are not there.
func (c *call) ownJob(id string) (*job, error) {
	j := c.s.jobs.find(id, c.metadata.Actor)
	if j == nil || !c.identity.AdmitsProfile(j.profileID) {
		return nil, &callError{CodeInvalidParameters, fmt.Sprintf("there is no job %q: jobs are kept for a while after their end, see job_status", id)}
	}
	c.metadata.ProfileID = j.profileID
	return j, nil
}

func jobStatus(_ context.Context, c *call) (*JobStatusData, error) {
	id := c.str("job_id")
	if err := c.done(); err != nil {
		return nil, err
	}
	if id != "" {
		j, err := c.ownJob(id)
		if err != nil {
			return nil, err
		}
		return &JobStatusData{Jobs: []JobInfo{j.info()}}, nil
	}
	data := &JobStatusData{Jobs: []JobInfo{}}
	for _, j := range c.s.jobs.of(c.metadata.Actor) {
		if c.identity.AdmitsProfile(j.profileID) {
			data.Jobs = append(data.Jobs, j.info())
		}
	}
	return data, nil
}

func jobOutput(ctx context.Context, c *call) (*JobOutputData, error) {
	id, stream := c.required("job_id"), c.str("stream")
	offset := c.number(0, 0, 1<<53, "offset")
	limit := c.number(defaultPage, utf8.UTFMax, maxPage, "limit")
	wait := c.number(0, 0, maxJobWait, "wait_seconds")
	switch {
	case stream == "":
		stream = "stdout"
	case stream != "stdout" && stream != "stderr":
		c.fail("stream must be stdout or stderr, not %q", stream)
	}
	if offset != math.Trunc(offset) || limit != math.Trunc(limit) {
		c.fail("offset and limit must be whole numbers")
	}
	if err := c.done(); err != nil {
		return nil, err
	}
	j, err := c.ownJob(id)
	if err != nil {
		return nil, err
	}
	t, cleaned := &j.stdout, j.cleanOut
	if stream == "stderr" {
		t, cleaned = &j.stderr, j.cleanErr
	}
	if wait > 0 {
		t.await(ctx, int64(offset), time.Duration(wait*float64(time.Second)))
	}
	data := t.read(int64(offset), int(limit))
	data.JobID, data.Stream, data.State = j.id, stream, j.info().State
	c.bytes, c.metadata.Redacted = data.NextOffset-data.Offset, cleaned.Count()
	return data, nil
}

// await waits until there is something at offset, or nothing more will come, at most for d.
func (t *tape) await(ctx context.Context, offset int64, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	for {
		_, _, _, end, more := t.page(offset, 0)
		if end > offset || more == nil {
			return
		}
		select {
		case <-more:
		case <-timer.C:
			return
		case <-ctx.Done():
			return
		}
	}
}

// read gives a page of a job's output. A character that its end would cut is left to the next page.
func (t *tape) read(offset int64, limit int) *JobOutputData {
	b, at, first, end, more := t.page(offset, limit)
	whole := at+int64(len(b)) == end
	if !whole || more != nil {
		b = b[:wholeCharacters(b)]
	}
	data := &JobOutputData{Offset: at, NextOffset: at + int64(len(b)), FirstOffset: first, TotalBytes: end}
	data.EOF = more == nil && data.NextOffset == end
	data.Text, data.Base64 = text(b, false)
	return data
}

// wholeCharacters is the length of b without a UTF-8 character at its end that goes on after it.
func wholeCharacters(b []byte) int {
	for cut := 1; cut < utf8.UTFMax && cut <= len(b); cut++ {
		if tail := b[len(b)-cut:]; utf8.RuneStart(tail[0]) {
			if !utf8.FullRune(tail) {
				return len(b) - cut
			}
			break
		}
	}
	return len(b)
}

func cancelJob(ctx context.Context, c *call) (*JobCancelData, error) {
	id, dryRun := c.required("job_id"), c.boolean(false, "dry_run")
	if err := c.done(); err != nil {
		return nil, err
	}
	j, err := c.ownJob(id)
	if err != nil {
		return nil, err
	}
	if !dryRun {
		j.cancel(errJobCancelled)
		select {
		case <-j.done:
		case <-ctx.Done():
			return nil, fmt.Errorf("job %s is being stopped: %w", id, context.Cause(ctx))
		}
	}
	return &JobCancelData{JobInfo: j.info(), DryRun: dryRun}, nil
}
