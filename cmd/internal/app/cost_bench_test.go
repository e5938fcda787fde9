package app

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/trailwarden/trailwarden/detectors"
	"github.com/trailwarden/trailwarden/pipeline/event"
	"github.com/trailwarden/trailwarden/rules"
)

// everyCall are the shipped rules with a detector that looks at all calls of an
// identity. They cost more than all others together, so that they are in every
// set: the matrix is about how many rules there are.
var everyCall = []string{"ak.new_service_or_verb", "ak.multi_asn_30m", "api.recon_breadth", "ak.new_source_ip", "ak.created_then_used",
	"ak.dormant_awakened", "meta.source_silent", "peers.none_does"}

// costSet is a rule set of a size: some of the shipped pack, all of it (0), or
// all of it and as many more as are missing, of which nine in ten name their
// event, like the pack's, and one in twenty has a detector.
func costSet(b testing.TB, n int) *rules.Set {
	b.Helper()
	all, err := Rules{Pack: true}.Load()
	if err != nil {
		b.Fatal(err)
	}
	var r Rules
	switch list := all.List(); {
	case n == 0:
		return all
	case n < len(list):
		r.Pack = true
		for i := range list {
			// One in four, from the beginning.
			if wide := slices.Contains(everyCall, list[i].ID); !wide && (i%4 != 0 || n <= len(everyCall)) {
				r.Disable = append(r.Disable, list[i].ID)
			} else if !wide {
				n--
			}
		}
	default:
		r.Pack, r.AllowFewTests = true, true
		dir := b.TempDir()
		rnd := rand.New(rand.NewPCG(3, 4))
		known := event.KnownEvents()
		for i := len(list); i < n; i++ {
			match := fmt.Sprintf(`event.name == %q && outcome == "success" && event.user_agent == "tool-%d"`, known[rnd.IntN(len(known))], i)
			detector := ""
			switch {
			case i%10 == 9:
				match = fmt.Sprintf([]string{
					`actor.type == "root-account" && event.rw == "Write" && event.region == "region-%d"`,
					`outcome == "attempt" && event.error_code == "Code%d"`,
					`event.service == "Kms" && event.rw == "Write" && event.vpc == "vpc-%d"`,
					`mfa == "no" && actor.type == "root-account" && source.text == "host%d"`,
					`actor.type == "saml-user" && source.kind == "public" && actor.name == "user%d"`,
				}[i/10%5], i)
			case i%20 == 5:
				match = fmt.Sprintf(`event.name == %q && outcome == "success"`, known[rnd.IntN(len(known))])
				detector = "detector: {type: threshold, by: actor.id, count: 10, window: 10m}\n"
			}
			id := fmt.Sprintf("bench.r%04d", i)
			text := fmt.Sprintf("id: %s\nversion: 1\ntitle: t\ndescription: d\nseverity: low\nreason: '{actor.name}'\nmatch: |\n  %s\n%s", id, match, detector)
			if err := os.WriteFile(filepath.Join(dir, id+".yaml"), []byte(text), 0o600); err != nil {
				b.Fatal(err)
			}
		}
		r.Dirs = []string{dir}
	}
	set, err := r.Load()
	if err != nil {
		b.Fatal(err)
	}
	return set
}

// costRecord is an ordinary call of an identity: nine reads in ten, one call in
// fifty refused, from one of two networks, about 900 bytes.
func costRecord(buf []byte, r *rand.Rand, n, who int, at time.Time) []byte {
	calls := [...]string{"Ecs:DescribeInstances", "Vpc:DescribeVpcs", "Rds:DescribeDBInstances", "Ecs:DescribeDisks", "Oss:ListBuckets", "Kms:ListKeys",
		"Slb:DescribeLoadBalancers", "Ecs:DescribeSecurityGroups", "Ram:ListUsers", "Sts:GetCallerIdentity"}
	writes := [...]string{"Ecs:RunInstances", "Ecs:StopInstance", "Ecs:CreateDisk", "Rds:ModifySecurityIps", "Vpc:CreateVSwitch", "Oss:PutBucketTags", "Ecs:CreateSnapshot"}
	service, name, rw := "Ecs", "DescribeInstances", "Read"
	call := calls[r.IntN(len(calls))]
	if r.IntN(10) == 0 {
		call, rw = writes[r.IntN(len(writes))], "Write"
	}
	for i := range call {
		if call[i] == ':' {
			service, name = call[:i], call[i+1:]
		}
	}
	fault := ""
	if r.IntN(50) == 0 {
		fault = `"errorCode":"NoPermission","errorMessage":"You are not authorized to do this action.",`
	}
	account := 1000000000000000 + who%16
	return fmt.Appendf(buf[:0], `{"eventId":"%08x-0000-4000-8000-%012x","eventName":%q,"eventType":"ApiCall","eventVersion":"1","eventRW":%q,"eventTime":%q,"serviceName":%q,%s"acsRegion":"cn-hangzhou","recipientAccountId":"%d","sourceIpAddress":"47.%d.%d.%d","userAgent":"AlibabaCloud (Linux; amd64) Java/1.8 Core/4.5.18 HTTPClient/ApacheHttpClient","requestId":"%08x-0000-4000-8000-%012x","requestParameters":{"RegionId":"cn-hangzhou","PageSize":50,"AcsProduct":%q,"InstanceIds":"[\"i-example000000000001\",\"i-example000000000002\"]"},"responseElements":{"RequestId":"x","TotalCount":2,"PageNumber":1},"userIdentity":{"type":"ram-user","accountId":"%d","principalId":"2%015d","userName":"user%d","accessKeyId":"LTAI5tEXAMPLE%010d"}}`,
		n, n, name, rw, at.Format(time.RFC3339), service, fault, account, who>>8&255, who&255, r.IntN(2)*100+7, n, n, service, account, who, who, who)
}

// cpu is the process's own processor time, which other work on the machine
// changes less than the clock.
func cpu(b testing.TB) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkCost is the matrix of rules and identities: what an event costs from
// its bytes to its detections with the shipped rules and with 1,000, as a multiple
// of what it costs with 30, and what an identity takes in memory after a month of
// calls: a hundred of each of 1,000 identities, five of 100,000, one or two of a
// million. The sets take turns at each thousand events,
// and medians are told, so that other work on the machine cancels out. Run it with
// -benchtime 1x; make bench-cost does. TestCostSmoke is a little of it in CI.
func BenchmarkCost(b *testing.B) {
	people := []int{1_000, 100_000, 1_000_000}
	shipped := costSet(b, 0)
	sets := []*rules.Set{costSet(b, 30), shipped, costSet(b, 1000)}
	for i, want := range []int{30, shipped.Len(), 1000} {
		if sets[i].Len() != want {
			b.Fatalf("%d rules, want %d", sets[i].Len(), want)
		}
	}
	for _, n := range people {
		b.Run(fmt.Sprintf("identities=%d", n), func(b *testing.B) {
			for b.Loop() {
				for i, c := range costOf(b, sets, n, min(max(5*n, 100_000), 1_500_000)) {
					name := []string{"30", "shipped", "1000"}[i]
					b.ReportMetric(c.perEvent, "ns/event:"+name)
					b.ReportMetric(c.ratio, "times-30:"+name)
					b.ReportMetric(c.perIdentity, "B/identity:"+name)
					b.ReportMetric(c.evicted, "evicted/identity:"+name)
				}
			}
		})
	}
}

// The benchmark works, on a little of its work. What it measures is not judged
// here: the machine that runs the tests is anybody's.
func TestCostSmoke(t *testing.T) {
	shipped := packWith(t, nil)
	sets := []*rules.Set{costSet(t, 30), shipped, costSet(t, shipped.Len()+80)}
	for i, c := range costOf(t, sets, 100, 3000) {
		if c.events != 3000 || c.evicted != 0 {
			t.Errorf("set %d: %+v", i, c)
		}
		t.Logf("%d rules: %.0f ns an event, %.2f of 30 rules", sets[i].Len(), c.perEvent, c.ratio)
	}
}

// cost is one set's; ratio is to the first set.
type cost struct {
	perEvent, ratio, perIdentity, evicted float64
	events                                uint64
}

func costOf(b testing.TB, sets []*rules.Set, identities, events int) []cost {
	b.Helper()
	const batch = 1000
	step := 30 * 24 * time.Hour / time.Duration(events)
	r := rand.New(rand.NewPCG(1, 2))
	engines, evals := make([]*detectors.Engine, len(sets)), make([]*detectors.Evaluator, len(sets))
	for i, set := range sets {
		engines[i] = detectors.NewEngine(set, detectors.EngineConfig{Judge: NewJudge(), Grace: 15 * time.Second, DedupMax: 10_000})
		evals[i] = set.NewEvaluator()
	}
	records := make([][]byte, batch)
	took, ratios := make([][]float64, len(sets)), make([][]float64, len(sets))
	for n := 0; n < events; n += batch {
		for i := range records {
			records[i] = costRecord(nil, r, n+i, r.IntN(identities), benchEpoch.Add(time.Duration(n+i)*step))
		}
		for i := range sets {
			began := cpu(b)
			for _, rec := range records {
				ev, err := event.Parse(rec)
				if err != nil {
					b.Fatal(err)
				}
				engines[i].Apply(evals[i].Evaluate(ev), "s/0")
			}
			engines[i].Take()
			took[i] = append(took[i], float64((cpu(b)-began).Nanoseconds())/batch)
			ratios[i] = append(ratios[i], took[i][len(took[i])-1]/took[0][len(took[0])-1])
		}
	}
	out := make([]cost, len(sets))
	for i := range sets {
		out[i].perEvent, out[i].ratio = median(took[i]), median(ratios[i])
		stats := engines[i].Stats()
		out[i].events = stats.Events
		for _, s := range stats.ByRule {
			out[i].evicted += float64(s.Detector.Evicted) / float64(identities)
		}
		// What goes when the engine goes is what it held.
		before := heap()
		engines[i] = nil
		out[i].perIdentity = (float64(before) - float64(heap())) / float64(identities)
	}
	return out
}

func median(list []float64) float64 {
	slices.Sort(list)
	return list[len(list)/2]
}
