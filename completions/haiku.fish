function __haiku_takes_options
    set -l is_value no
    for word in (commandline -poc)[2..]
        if test $is_value = yes
            set is_value no
        else if string match -qr -- '^(-[^-]|--.)' $word
            set word (string replace -r '^-[nvqhV]+(?=.)' - -- $word)
            contains -- $word -m --model -s --system --system-file --max-tokens -t --temperature --top-p --top-k --metadata --messages -a --attach --cache-prompt --schema --param --body -g --gateway --cache-ttl -H --header --account-id --token-file --base-url --timeout --retries -o --output --generate
            and set is_value yes
        else
            return 1
        end
    end
    return 0
end

complete -c haiku -n __haiku_takes_options -s m -l model -d 'Model to use [default: anthropic/claude-haiku-4.5]' -r -f
complete -c haiku -n __haiku_takes_options -s s -l system -d 'System prompt' -r -f
complete -c haiku -n __haiku_takes_options -l system-file -d 'Read the system prompt from FILE' -r -F
complete -c haiku -n __haiku_takes_options -l max-tokens -d 'Maximum number of tokens to generate [default: 8192]' -r -f
complete -c haiku -n __haiku_takes_options -s t -l temperature -d 'Sampling temperature, 0 to 1; not with --top-p' -r -f
complete -c haiku -n __haiku_takes_options -l top-p -d 'Nucleus sampling, 0 to 1; not with --temperature' -r -f
complete -c haiku -n __haiku_takes_options -l top-k -d 'Sample only from the N most likely tokens' -r -f
complete -c haiku -n __haiku_takes_options -l metadata -d 'Request metadata, such as {"user_id": "…"}' -r -f
complete -c haiku -n __haiku_takes_options -l messages -d 'Conversation so far: a JSON array or JSON Lines' -r -F
complete -c haiku -n __haiku_takes_options -s a -l attach -d 'Attach an image, PDF or text file (repeatable)' -r -F
complete -c haiku -n __haiku_takes_options -l cache-prompt -d 'Cache the prompt\'s fixed part for 5m or 1h' -r -f -a "5m\t''
1h\t''"
complete -c haiku -n __haiku_takes_options -l schema -d 'Ask for JSON that matches the JSON Schema in FILE' -r -F
complete -c haiku -n __haiku_takes_options -l param -d 'Set any other request property (repeatable)' -r -f
complete -c haiku -n __haiku_takes_options -l body -d 'Send FILE as the request body, unchanged' -r -F
complete -c haiku -n __haiku_takes_options -s g -l gateway -d 'AI Gateway to use [default: default]' -r -f
complete -c haiku -n __haiku_takes_options -l cache-ttl -d 'Keep the reply in the gateway\'s cache this long' -r -f
complete -c haiku -n __haiku_takes_options -l account-id -d 'Cloudflare account ID' -r -f
complete -c haiku -n __haiku_takes_options -l token-file -d 'Read the API token from FILE' -r -F
complete -c haiku -n __haiku_takes_options -l base-url -d 'API base URL' -r -f
complete -c haiku -n __haiku_takes_options -l timeout -d 'Maximum total time [default: 600 seconds]' -r -f
complete -c haiku -n __haiku_takes_options -l retries -d 'Retries on temporary errors [default: 2]' -r -f
complete -c haiku -n __haiku_takes_options -s o -l output -d 'Write the reply to FILE, all or nothing' -r -F
complete -c haiku -n __haiku_takes_options -l generate -d 'Print man, complete-bash, complete-zsh, complete-fish' -r -f -a "man\t''
complete-bash\t''
complete-zsh\t''
complete-fish\t''"
complete -c haiku -n __haiku_takes_options -s H -l header -d 'Add a request header (repeatable)' -r -f
complete -c haiku -n __haiku_takes_options -l stream -d 'Print text as it arrives [default on a terminal]'
complete -c haiku -n __haiku_takes_options -l no-stream -d 'Print nothing until the reply is complete'
complete -c haiku -n __haiku_takes_options -l skip-cache -d 'Bypass the gateway\'s cache'
complete -c haiku -n __haiku_takes_options -s n -l no-stdin -d 'Do not read standard input'
complete -c haiku -n __haiku_takes_options -l json -d 'Print the response as raw JSON'
complete -c haiku -n __haiku_takes_options -l dry-run -d 'Print the request body without sending it'
complete -c haiku -n __haiku_takes_options -s v -l verbose -d 'Report retries, token counts and timings on stderr'
complete -c haiku -n __haiku_takes_options -s q -l quiet -d 'Suppress hints, warnings and progress, but not errors'
complete -c haiku -n __haiku_takes_options -s h -l help -d 'Print help (-h: summary, --help: details)'
complete -c haiku -n __haiku_takes_options -s V -l version -d 'Print version'
complete -c haiku -f
