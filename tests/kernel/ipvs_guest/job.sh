exec /usr/bin/python3 runner.py cases.json "$OUT/results.jsonl"
