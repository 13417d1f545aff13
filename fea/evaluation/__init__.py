"""One ruler: what an answer is worth, and what many are. It knows no trainer and no model.

What these numbers do not mean:

- An expression is not a feeling. Accuracy says how often the answer is the word that annotators chose for a picture.
- Macro F1 of a rare unit rests on few faces: read its support and its interval before its third digit.
- Units that nobody coded are no errors and no hits. Two data sets that code other units have F1 over other lists: only those of
  one protocol (`fea test --protocol`) can be compared.
- Accuracy of skewed labels is mostly the frequent emotion. Beside it stand the majority answer, the best answer that ignores
  the face, and the unweighted average recall, which is the mean over emotions.
- An interval of `fea test` is over the faces, or people, of this test set. It knows nothing of other cameras, ages or cultures,
  nor of another seed of training: that takes more runs.
- Votes of sampled answers are shares of what this policy says, no probabilities of what is there; calibration shows how far.
- *Alignment* is agreement with prototypes of emotions, and an agreement of the answer with itself: neither is truth.
- The thinking is text that was rewarded. Whether the answer follows from it is `consistency`, measured apart.
"""
