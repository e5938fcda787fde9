package app

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/trailwarden/trailwarden/cmd/internal/config"
	"github.com/trailwarden/trailwarden/cmd/internal/fakecloud"
	"github.com/trailwarden/trailwarden/responders"
	"github.com/trailwarden/trailwarden/responders/chattest"
	"github.com/trailwarden/trailwarden/responders/dingtalk"
	"github.com/trailwarden/trailwarden/responders/ramtest"
)

// BenchmarkSLSToSlack measures from a record being readable in SLS to the
// Slack call being accepted, over the real SDKs and an fsync before each
// acknowledgement. One record at a time, a second apart, because Slack takes
// one message a second. Run with -benchtime 20x.
func BenchmarkSLSToSlack(b *testing.B) {
	cloud, err := fakecloud.Start(fakecloud.Options{Dir: b.TempDir(), ChatRate: -1}, []string{"1000000000000001"})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = cloud.Close() })
	runApp(b, context.Background(), cloud.Config, nil)
	send := func(i int) time.Duration {
		n := len(cloud.Chat.Messages(chattest.DefaultChannel))
		now := time.Now()
		cloud.Append(fmt.Appendf(nil, `{"eventId":"lat-%d","eventName":"ConsoleSignin","serviceName":"AasCustomer","eventType":"ConsoleSignin","eventTime":%q,"sourceIpAddress":"203.0.113.%d","userAgent":"x","requestId":"r","recipientAccountId":"1000000000000001","userIdentity":{"type":"root-account","accountId":"1000000000000001","principalId":"1000000000000001","userName":"root"},"additionalEventData":{"isMFAChecked":"true"}}`,
			i, now.UTC().Format("2006-01-02T15:04:05Z"), i%250))
		for len(cloud.Chat.Messages(chattest.DefaultChannel)) == n {
			if time.Since(now) > 30*time.Second {
				b.Fatal("no message within 30 s")
			}
			time.Sleep(2 * time.Millisecond)
		}
		return time.Since(now)
	}
	send(0) // until everything is up
	var took []time.Duration
	i := 0
	for b.Loop() {
		i++
		time.Sleep(1100*time.Millisecond + time.Duration(i*37%200)*time.Millisecond)
		took = append(took, send(i))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "median-ms")
	b.ReportMetric(float64(took[len(took)*95/100].Microseconds())/1000, "p95-ms")
}

// BenchmarkLeakedKeyToContained measures from the first restricted call being
// readable in SLS to the key being inactive in the cloud, in mode auto, over
// the real SDKs, with the intent journalled before the call. Run with
// -benchtime 20x.
func BenchmarkLeakedKeyToContained(b *testing.B) {
	cloud, err := fakecloud.Start(fakecloud.Options{Dir: b.TempDir(), ChatRate: -1}, []string{"1000000000000001"})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = cloud.Close() })
	runApp(b, context.Background(), cloud.Config, nil)
	contain := func(i int) time.Duration {
		key := fmt.Sprintf("LTAI5tEXAMPLEleak%06d", i)
		record := fmt.Appendf(nil, `{"eventId":"leak-%d","eventName":"ListUsers","serviceName":"Ram","eventType":"ApiCall","eventRW":"Read","eventTime":%q,"sourceIpAddress":"203.0.113.%d","userAgent":"x","requestId":"leak-%d","recipientAccountId":"1000000000000001","errorCode":"Forbidden","errorMessage":"There is a risk of leakage of this AccessKey.","userIdentity":{"type":"ram-user","accountId":"1000000000000001","principalId":"2000000000000001","userName":"user%d","accessKeyId":%q}}`,
			i, time.Now().UTC().Format("2006-01-02T15:04:05Z"), i%250, i, i, key)
		cloud.Seed(record)
		now := time.Now()
		cloud.Append(record)
		for cloud.RAM.KeyStatus(key) != ramtest.Inactive {
			if time.Since(now) > 30*time.Second {
				b.Fatal("not contained within 30 s")
			}
			time.Sleep(time.Millisecond)
		}
		return time.Since(now)
	}
	contain(0) // until everything is up
	var took []time.Duration
	i := 0
	for b.Loop() {
		i++
		time.Sleep(700*time.Millisecond + time.Duration(i*37%200)*time.Millisecond)
		took = append(took, contain(i))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "median-ms")
	b.ReportMetric(float64(took[len(took)*95/100].Microseconds())/1000, "p95-ms")
	b.ReportMetric(float64(took[len(took)-1].Microseconds())/1000, "max-ms")
}

// BenchmarkStormOfEqualAlerts gives the whole program 10,000 calls of one leaked key,
// refused one after another, with Slack, a DingTalk app and a DingTalk robot listening:
// what people get, what the cloud is asked, and what it costs in memory. Run with
// -benchtime 1x.
func BenchmarkStormOfEqualAlerts(b *testing.B) {
	const n, key = 10_000, "LTAI5tEXAMPLEstorm00001"
	for b.Loop() {
		cloud, err := fakecloud.Start(fakecloud.Options{Dir: b.TempDir(), ChatRate: -1}, []string{"1000000000000001"})
		if err != nil {
			b.Fatal(err)
		}
		ding := chattest.New(chattest.Options{AckTimeout: 30 * time.Second})
		ctx, stop := context.WithTimeout(context.Background(), 5*time.Minute)
		a := runApp(b, ctx, cloud.Config, func(c *config.Config) {
			c.Notify.DingTalk = []dingtalk.Spec{
				{
					Common: responders.Common{Name: "app"}, ClientID: chattest.DingTalkClientID, ClientSecret: chattest.DingTalkClientSecret,
					CardTemplateID: chattest.DingTalkTemplate, OpenConversationID: chattest.DingTalkGroup, CorpID: chattest.DingTalkCorp, APIURL: ding.DingTalkURL(),
				},
				{Common: responders.Common{Name: "robot"}, Webhook: responders.Secret(ding.URL() + chattest.RobotPath + "dingtalk?access_token=EXAMPLE"), Keyword: "trailwarden"},
			}
		})
		until := func(what string, cond func() bool) {
			for !cond() {
				if ctx.Err() != nil {
					b.Fatalf("never: %s", what)
				}
				time.Sleep(5 * time.Millisecond)
			}
		}
		record := func(i int) []byte {
			return fmt.Appendf(nil, `{"eventId":"storm-%d","eventName":"ListUsers","serviceName":"Ram","eventType":"ApiCall","eventRW":"Read","eventTime":%q,"sourceIpAddress":"203.0.113.9","userAgent":"x","requestId":"storm-%d","recipientAccountId":"1000000000000001","errorCode":"Forbidden","errorMessage":"There is a risk of leakage of this AccessKey.","userIdentity":{"type":"ram-user","accountId":"1000000000000001","principalId":"2000000000000001","userName":"user1","accessKeyId":%q}}`,
				i, time.Now().UTC().Format("2006-01-02T15:04:05Z"), i, key)
		}
		cloud.Seed(record(0))
		until("it reads", func() bool { return cloud.SLS.HasGroup("trailwarden") && !a.sources[0].Stats().LastPull.IsZero() })
		heap := func() uint64 {
			runtime.GC()
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			return m.HeapAlloc
		}
		before := heap()
		began := time.Now()
		contained := time.Duration(0)
		for i := range n {
			cloud.Append(record(i))
			if contained == 0 && cloud.RAM.KeyStatus(key) == ramtest.Inactive {
				contained = time.Since(began)
			}
		}
		until("the key is inactive", func() bool { return cloud.RAM.KeyStatus(key) == ramtest.Inactive })
		if contained == 0 {
			contained = time.Since(began)
		}
		until("the messages say what there is", func() bool {
			cards := ding.DingTalkCards(chattest.DingTalkGroup)
			return len(cards) > 0 && strings.Contains(cards[0].Data["facts"], "×10000")
		})
		grown := int64(heap()) - int64(before)
		actions, err := a.Actions(ctx)
		if err != nil {
			b.Fatal(err)
		}
		var edits int
		for _, m := range cloud.Chat.Messages(chattest.DefaultChannel) {
			edits += len(m.Edits)
		}
		card := ding.DingTalkCards(chattest.DingTalkGroup)[0]
		b.ReportMetric(float64(contained.Milliseconds()), "contained-ms")
		b.ReportMetric(float64(len(actions)), "actions")
		b.ReportMetric(float64(cloud.RAM.Calls(ramtest.RAM, "UpdateAccessKey")), "UpdateAccessKey")
		b.ReportMetric(float64(len(cloud.Chat.Messages(chattest.DefaultChannel))), "slack-messages")
		b.ReportMetric(float64(edits), "slack-edits")
		b.ReportMetric(float64(len(ding.DingTalkCards(chattest.DingTalkGroup))), "ding-cards")
		b.ReportMetric(float64(card.Edits), "ding-edits")
		b.ReportMetric(float64(len(ding.RobotMessages("dingtalk"))), "robot-messages")
		b.ReportMetric(float64(grown)/1e6, "heap-MB")
		stop()
		ding.Close()
		_ = cloud.Close()
	}
}
