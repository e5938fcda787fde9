package replay

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestDeliveriesByName: a delivery whose name is of another time or region is
// not opened, and counted; one that could hold what is asked for is, and so is
// every file with another name. What comes out is what reading all gives.
func TestDeliveriesByName(t *testing.T) {
	const day = 24 * 60 * 60
	name := func(region string, sec, n int) string {
		at := t0.Add(time.Duration(sec) * time.Second)
		return fmt.Sprintf("AliyunLogs/Actiontrail/%s/%s/Actiontrail_%s_%s_1002_%d_4567_0123456789abcdef0123456789abcdef.gz",
			region, at.Format("2006/01/02"), region, at.Format("20060102150405"), n)
	}
	files := map[string]string{"other.jsonl": lines(recs("o", 0, 5))}
	for i := range 10 { // ten days, each delivered five minutes later
		for _, region := range []string{"cn-hangzhou", "cn-shanghai"} {
			files[name(region, i*day+300, 20)] = packGzip(t, array(recs(fmt.Sprintf("%s-%d", region, i), i*day, 20)))
		}
	}
	// A delivery that is a day late for all its events is still read.
	files[name("cn-hangzhou", 5*day-1, 7)] = packGzip(t, array(recs("late", 4*day, 7)))
	dir := write(t, files)
	from, to := t0.Add(3*day*time.Second), t0.Add(4*day*time.Second)
	plain := map[string]string{} // the same records under names that say nothing
	i := 0
	for _, data := range files {
		i++
		ext := ".gz"
		if strings.HasPrefix(data, "{") {
			ext = ".jsonl"
		}
		plain[fmt.Sprint(i)+ext] = data
	}
	want, _, _ := play(t, RunConfig{From: from, To: to}, write(t, plain))
	got, _, _ := play(t, RunConfig{From: from, To: to}, dir)
	if g, w := asLines(t, found(t, &got)), asLines(t, found(t, &want)); g != w || g == "" {
		t.Errorf("got %s, want %s", g, w)
	}
	// Days 2 to 4 of each region, the late one, and the other file.
	if got.Stats.FilesRead != 2*3+2 || got.Stats.FilesSkipped != 2*7 {
		t.Errorf("%d read, %d left out", got.Stats.FilesRead, got.Stats.FilesSkipped)
	}
	one, _, _ := play(t, RunConfig{Options: Options{Regions: []string{"CN-Shanghai"}}}, dir)
	if one.Stats.FilesRead != 10+1 || one.Stats.FilesSkipped != 10+1 || one.Stats.Events != 10*20+5 {
		t.Errorf("one region: %+v", one.Stats)
	}
	all, _, _ := play(t, RunConfig{}, dir)
	if all.Stats.FilesSkipped != 0 || all.Stats.FilesRead != int64(len(files)) {
		t.Errorf("all: %+v", all.Stats)
	}
	warm, _, _ := play(t, RunConfig{From: from, To: to, Warm: 2 * day * time.Second}, dir)
	if warm.Stats.FilesSkipped != 2*5 {
		t.Errorf("warm: %d left out", warm.Stats.FilesSkipped)
	}
	if _, err := Run(context.Background(), []string{filepath.Join(dir, "AliyunLogs")}, RunConfig{Rules: newTestSet(), From: t0.AddDate(1, 0, 0)}); !errors.Is(err, ErrNothing) || !strings.Contains(err.Error(), fmt.Sprintf("21 deliveries are of other times or regions; they say %s to %s", t0.Add(300*time.Second).Format(time.RFC3339), t0.Add((9*day+300)*time.Second).Format(time.RFC3339))) {
		t.Error(err)
	}
}
